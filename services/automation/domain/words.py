"""What automation says to people, in English and German: labels of the catalogue, and the sentences of explanations (README 8).

Every text stands here once. The machine's names (`create_payment_link`, `past_target`) are the keys; nothing else is translated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Words(NamedTuple):
    """The same thing said in both languages."""

    en: str
    de: str

    def shown(self, name: str = "label") -> dict[str, str]:
        """As members of an answer: `label` and `label_de`."""
        return {name: self.en, f"{name}_de": self.de}


def same(text: str) -> Words:
    return Words(text, text)


def label(words: Mapping[str, Words], name: str) -> Words:
    """A name that has no words is shown as it is."""
    return words.get(name) or same(name)


# ------------------------------------------------------------------------------------------------ what can be chosen

ELEMENT_TYPES = {
    "deal": Words("Deal", "Auftrag"),
    "lead": Words("Lead", "Lead"),
}
GROUPS = {
    "payment": Words("Payment", "Zahlung"),
    "recurring_deals": Words("Recurring deals", "Wiederkehrende Aufträge"),
    "communication": Words("Communication", "Kommunikation"),
    "refunds": Words("Refunds", "Rückzahlungen"),
    "auxiliary": Words("Auxiliary", "Hilfsregeln"),
}
RULE_TYPES = {
    "create_payment_link": Words("Create payment link", "Zahlungslink erstellen"),
    "create_from": Words("Create from", "Erstellen aus"),
    "change_details": Words("Change details", "Kundendaten ändern"),
    "get_details": Words("Get details values", "Kundendaten lesen"),
    "create_recurring_lead": Words("Create recurring lead", "Wiederkehrenden Lead erstellen"),
    "copy_deal": Words("Copy deal", "Auftrag kopieren"),
    "plan_activity": Words("Plan activity", "Aktivität planen"),
    "send_email": Words("Send e-mail to customer", "E-Mail an den Kunden senden"),
    "send_sms": Words("Send SMS", "SMS senden"),
    "notify": Words("Add notification", "Benachrichtigung hinzufügen"),
    "change_variable": Words("Change variable", "Variable ändern"),
}
TRIGGER_TYPES = {
    "invoice_paid": Words("Track invoice payment", "Rechnungszahlung verfolgen"),
    "invoice_refunded": Words("Track refunds", "Rückzahlungen verfolgen"),
    "webhook": Words("Incoming webhook", "Eingehender Webhook"),
}
MEMBERS = {
    "id": Words("Short name", "Kurzname"),
    "type": Words("Type", "Typ"),
    "name": Words("Name", "Name"),
    "enabled": Words("Enabled", "Eingeschaltet"),
    "execution": Words("Execution", "Ausführung"),
    "timing": Words("Time", "Zeitpunkt"),
    "condition": Words("Condition", "Bedingung"),
    "also_at_arrival": Words("Judge the condition at arrival too", "Bedingung auch beim Eintritt prüfen"),
    "settings": Words("Settings", "Einstellungen"),
    "on_exit": Words("When the element moves on before", "Wenn das Element vorher weiterzieht"),
    "on_unresolved": Words("When a placeholder has no value", "Wenn ein Platzhalter keinen Wert hat"),
    "continue_on_failure": Words("Go on below when it fails", "Nach einem Fehler darunter weitermachen"),
    "acting_user": Words("Acts in the name of", "Handelt im Namen von"),
    "fallback_user": Words("Stand-in", "Vertretung"),
    "owner": Words("Owner", "Zuständig"),
    "target_stage": Words("Target stage", "Zielphase"),
    "allow_back": Words("Allow moving to a previous stage", "Zurück in eine frühere Phase erlauben"),
    "allow_reopen": Words("Allow leaving a final stage", "Verlassen einer Endphase erlauben"),
}
"""What every rule, or every trigger, has."""

SETTINGS = {
    "auto_create": Words("Create the link automatically", "Link automatisch erstellen"),
    "order_id": Words("Order number", "Bestellnummer"),
    "reuse_existing": Words("Hand out an existing link again", "Vorhandenen Link erneut verwenden"),
    "covers": Words("What it covers", "Was bezahlt wird"),
    "expires_in": Words("Valid for", "Gültig für"),
    "targets": Words("What to create", "Was erstellt wird"),
    "responsible": Words("Responsible person", "Verantwortliche Person"),
    "title": Words("Title", "Titel"),
    "issue": Words("Issue the invoice at once", "Rechnung sofort ausstellen"),
    "skip_if_open_exists": Words("Skip if an open one exists", "Überspringen, wenn noch etwas offen ist"),
    "skip_if_open_lead_exists": Words("Skip if an open lead exists", "Überspringen, wenn ein Lead offen ist"),
    "valid_for": Words("Quote valid for", "Angebot gültig für"),
    "sign_template": Words("Template to sign", "Vorlage zur Unterschrift"),
    "close_lead": Words("Close the lead", "Lead abschließen"),
    "pipeline": Words("Pipeline", "Pipeline"),
    "pipeline_of_deal": Words("Pipeline of the deal", "Pipeline des Auftrags"),
    "element": Words("Whose details", "Wessen Daten"),
    "which": Words("Which contacts", "Welche Kontakte"),
    "template": Words("Template", "Vorlage"),
    "address_type": Words("Address type", "Adressart"),
    "fields": Words("Fields to change", "Zu ändernde Felder"),
    "name": Words("Name", "Name"),
    "name_of_copy": Words("Name of the copy", "Name der Kopie"),
    "initial_stage": Words("Initial stage", "Erste Phase"),
    "description": Words("Description", "Beschreibung"),
    "deadline": Words("Deadline", "Frist"),
    "duration": Words("Duration in minutes", "Dauer in Minuten"),
    "colour": Words("Colour", "Farbe"),
    "calendar": Words("Add to calendar", "In den Kalender eintragen"),
    "customers": Words("Add customers", "Kunden hinzufügen"),
    "invite": Words("Invite colleagues", "Kollegen einladen"),
    "address": Words("Address", "Adresse"),
    "room": Words("Room", "Raum"),
    "on_room_conflict": Words("If the room is taken", "Bei belegtem Raum"),
    "link": Words("Link", "Link"),
    "files": Words("Files", "Dateien"),
    "reminders": Words("Reminders, in minutes before", "Erinnerungen, in Minuten davor"),
    "auto_complete_on_stage_change": Words("Complete when the element moves on", "Bei Phasenwechsel abschließen"),
    "to": Words("To", "An"),
    "subject": Words("Subject", "Betreff"),
    "body": Words("Text", "Text"),
    "from": Words("From", "Absender"),
    "reply_to": Words("Reply to", "Antwort an"),
    "attachments": Words("Attachments", "Anhänge"),
    "text": Words("Text", "Text"),
    "variable": Words("Variable", "Variable"),
    "value": Words("New value", "Neuer Wert"),
    "scope": Words("Which invoices", "Welche Rechnungen"),
    "threshold": Words("From a part of the amount", "Ab einem Teil des Betrags"),
    "code": Words("Code", "Code"),
}

_ADDRESS_TYPES = {
    "postal": Words("Postal address", "Postanschrift"),
    "business": Words("Business address", "Geschäftsadresse"),
    "delivery": Words("Delivery address", "Lieferadresse"),
    "registered": Words("Registered address", "Meldeadresse"),
    "legal": Words("Legal address", "Sitz"),
    "beneficiary": Words("Beneficiary's address", "Adresse des Begünstigten"),
}
_OWNERS = {"contact": Words("Contact", "Kontakt"), "company": Words("Company", "Firma")}
CHOICES: dict[str, dict[str, Words]] = {
    "covers": {
        "auto": Words("The newest open invoice, else the deal", "Die neueste offene Rechnung, sonst der Auftrag"),
        "deal": Words("The deal", "Der Auftrag"),
    },
    "targets": {
        "quote": Words("Quote", "Angebot"),
        "invoice": Words("Invoice", "Rechnung"),
        "sign_document": Words("Document to sign", "Dokument zur Unterschrift"),
        "deal": Words("Deal", "Auftrag"),
        **_OWNERS,
    },
    "element": _OWNERS,
    "which": {"primary": Words("The main contact", "Der Hauptkontakt"), "all": Words("All contacts", "Alle Kontakte")},
    "address_type": _ADDRESS_TYPES,
    "colour": {
        "default": Words("Default", "Standard"),
        "red": Words("Red", "Rot"),
        "orange": Words("Orange", "Orange"),
        "yellow": Words("Yellow", "Gelb"),
        "green": Words("Green", "Grün"),
        "blue": Words("Blue", "Blau"),
        "violet": Words("Violet", "Violett"),
        "grey": Words("Grey", "Grau"),
    },
    "on_room_conflict": {
        "mark": Words("Plan it and mark the conflict", "Planen und den Konflikt kennzeichnen"),
        "fail": Words("Do not plan it", "Nicht planen"),
    },
    "from": {
        "company": Words("The company", "Das Unternehmen"),
        "responsible": Words("The responsible person", "Die verantwortliche Person"),
    },
    "customers": {
        "none": Words("Nobody", "Niemand"),
        "all": Words("All contacts", "Alle Kontakte"),
        "primary": Words("The main contact", "Der Hauptkontakt"),
    },
    "scope": {
        "any": Words("Any invoice of the element", "Jede Rechnung des Elements"),
        "all_open": Words("When no other issued invoice is unpaid", "Wenn keine andere gestellte Rechnung offen ist"),
    },
    "execution": {
        "parallel": Words("At once, beside the others", "Sofort, neben den anderen"),
        "after_previous": Words("After the rule above", "Nach der Regel darüber"),
    },
    "on_exit": {"cancel": Words("Cancel", "Abbrechen"), "keep": Words("Keep", "Behalten")},
    "on_unresolved": {"block": Words("Hold back", "Zurückhalten"), "empty": Words("Leave empty", "Leer lassen")},
    "working_hours": {
        "none": Words("At any time", "Jederzeit"),
        "company": Words("The company's hours", "Zeiten des Unternehmens"),
        "responsible": Words("The responsible person's hours", "Zeiten der verantwortlichen Person"),
    },
    "if_empty": {
        "wait": Words("Wait for the date", "Auf das Datum warten"),
        "skip": Words("Skip the rule", "Regel überspringen"),
        "run": Words("Run at once", "Sofort ausführen"),
    },
}
PEOPLE = {
    "default": Words("Responsible person of the element", "Verantwortliche Person des Elements"),
    "responsible": Words("Responsible person of the element", "Verantwortliche Person des Elements"),
    "owner": Words("Owner of the rule", "Zuständige Person der Regel"),
}
KINDS = {
    "text": Words("Text", "Text"),
    "number": Words("Number", "Zahl"),
    "money": Words("Amount", "Betrag"),
    "bool": Words("Yes or no", "Ja oder nein"),
    "date": Words("Date", "Datum"),
    "datetime": Words("Date and time", "Datum und Uhrzeit"),
    "time": Words("Time of day", "Uhrzeit"),
    "weekday": Words("Day of the week", "Wochentag"),
    "select": Words("Choice", "Auswahl"),
    "stage": Words("Stage", "Phase"),
    "user": Words("Employee", "Mitarbeiter"),
    "list": Words("List", "Liste"),
}
OUTPUTS = {
    "state": Words("State", "Zustand"),
    "finished_at": Words("Finished at", "Beendet am"),
    "url": Words("Link", "Link"),
    "payment_document_id": Words("Payment document", "Zahlungsdokument"),
    "amount": Words("Amount", "Betrag"),
    "currency": Words("Currency", "Währung"),
    "expires_at": Words("Valid until", "Gültig bis"),
    "reused": Words("Handed out again", "Erneut verwendet"),
    "invoice_id": Words("Invoice", "Rechnung"),
    "quote_id": Words("Quote", "Angebot"),
    "sign_document_id": Words("Document to sign", "Dokument zur Unterschrift"),
    "deal_id": Words("Deal", "Auftrag"),
    "contact_id": Words("Contact", "Kontakt"),
    "company_id": Words("Company", "Firma"),
    "changed": Words("Changed fields", "Geänderte Felder"),
    "unchanged": Words("Unchanged fields", "Unveränderte Felder"),
    "details_id": Words("Details record", "Datensatz"),
    "found": Words("Found", "Gefunden"),
    "address": Words("Address on one line", "Adresse in einer Zeile"),
    "address_lines": Words("Address in lines", "Adresse in Zeilen"),
    "street": Words("Street", "Straße"),
    "house": Words("House number", "Hausnummer"),
    "addition": Words("Addition", "Adresszusatz"),
    "city": Words("City", "Ort"),
    "postal_code": Words("Postal code", "Postleitzahl"),
    "district": Words("District", "Kreis"),
    "region": Words("Region", "Bundesland"),
    "country": Words("Country", "Land"),
    "country_code": Words("Country code", "Ländercode"),
    "lead_id": Words("Lead", "Lead"),
    "title": Words("Title", "Titel"),
    "name": Words("Name", "Name"),
    "pipeline": Words("Pipeline", "Pipeline"),
    "stage": Words("Stage", "Phase"),
    "activity_id": Words("Activity", "Aktivität"),
    "deadline": Words("Deadline", "Frist"),
    "deadline_local": Words("Deadline in local time", "Frist in Ortszeit"),
    "room_state": Words("State of the room", "Zustand des Raums"),
    "sent_at": Words("Sent at", "Gesendet am"),
    "notice_ids": Words("Messages", "Nachrichten"),
    "before": Words("Value before", "Wert davor"),
    "after": Words("Value after", "Wert danach"),
}
EVENT_FIELDS = {
    "number": Words("Number of the invoice", "Rechnungsnummer"),
    "total": Words("Total of the invoice", "Rechnungsbetrag"),
    "epoch": Words("How often it was paid", "Wievielte Zahlung"),
    "paid_at": Words("Paid at", "Bezahlt am"),
    "title": Words("Title of the invoice", "Titel der Rechnung"),
}

# ------------------------------------------------------------------------------------------------ fields and comparisons

SOURCES = {
    "element": Words("Fields of the element", "Felder des Elements"),
    "contact": Words("Contact", "Kontakt"),
    "company": Words("Company", "Firma"),
    "responsible": Words("Responsible person", "Verantwortliche Person"),
    "invoices": Words("Invoices", "Rechnungen"),
    "constants": Words("Constants", "Konstanten"),
    "variables": Words("Variables", "Variablen"),
    "steps": Words("Results of earlier rules", "Ergebnisse früherer Regeln"),
    "run": Words("Time and rule", "Zeit und Regel"),
    "event": Words("What has happened", "Was geschehen ist"),
}
"""Where a placeholder's value comes from."""

FIELDS = {
    "id": Words("Id", "Id"),
    "title": Words("Title", "Titel"),
    "amount": Words("Amount", "Betrag"),
    "currency": Words("Currency", "Währung"),
    "stage": Words("Stage", "Phase"),
    "pipeline": Words("Pipeline", "Pipeline"),
    "stage_kind": Words("Kind of the stage", "Art der Phase"),
    "arrived_at": Words("Arrived in the stage", "Eintritt in die Phase"),
    "visit_number": Words("Number of the stay", "Nummer des Aufenthalts"),
    "created_at": Words("Created at", "Erstellt am"),
    "created_by": Words("Created by", "Erstellt von"),
    "lines": Words("Product rows", "Produktzeilen"),
    "observers": Words("Observers", "Beobachter"),
    "contacts": Words("Contacts", "Kontakte"),
    "responsible": Words("Responsible person", "Verantwortliche Person"),
    "begin_date": Words("Begin", "Beginn"),
    "close_date": Words("End", "Ende"),
    "created_by_copy": Words("Made by copying", "Durch Kopieren entstanden"),
    "repeat_customer": Words("Repeat customer", "Stammkunde"),
    "loss_reason": Words("Reason of the loss", "Verlustgrund"),
    "repeat": Words("Repeat lead", "Wiederkehrender Lead"),
    "contact.id": Words("Contact: id", "Kontakt: Id"),
    "contact.first_name": Words("Contact: first name", "Kontakt: Vorname"),
    "contact.last_name": Words("Contact: last name", "Kontakt: Nachname"),
    "contact.name": Words("Contact: name", "Kontakt: Name"),
    "contact.email": Words("Contact: e-mail", "Kontakt: E-Mail"),
    "contact.phone": Words("Contact: phone", "Kontakt: Telefon"),
    "contact.language": Words("Contact: language", "Kontakt: Sprache"),
    "contact.zone": Words("Contact: time zone", "Kontakt: Zeitzone"),
    "company.id": Words("Company: id", "Firma: Id"),
    "company.name": Words("Company: name", "Firma: Name"),
    "company.email": Words("Company: e-mail", "Firma: E-Mail"),
    "company.phone": Words("Company: phone", "Firma: Telefon"),
    "responsible.id": Words("Responsible person: id", "Verantwortliche Person: Id"),
    "responsible.code": Words("Responsible person: code", "Verantwortliche Person: Code"),
    "responsible.name": Words("Responsible person: name", "Verantwortliche Person: Name"),
    "responsible.email": Words("Responsible person: e-mail", "Verantwortliche Person: E-Mail"),
    "responsible.department": Words("Responsible person: department", "Verantwortliche Person: Abteilung"),
    "responsible.active": Words("Responsible person: active", "Verantwortliche Person: aktiv"),
    "invoices.open_count": Words("Open invoices", "Offene Rechnungen"),
    "invoices.paid_count": Words("Paid invoices", "Bezahlte Rechnungen"),
    "invoices.last.status": Words("Last invoice: status", "Letzte Rechnung: Status"),
    "invoices.last.number": Words("Last invoice: number", "Letzte Rechnung: Nummer"),
    "invoices.last.total": Words("Last invoice: total", "Letzte Rechnung: Betrag"),
    "now": Words("Now", "Jetzt"),
    "now.date": Words("Today's date", "Heutiges Datum"),
    "now.time": Words("Time of day", "Uhrzeit"),
    "now.weekday": Words("Day of the week", "Wochentag"),
    "now.working_time": Words("Within working hours", "Innerhalb der Arbeitszeit"),
    "arrival": Words("Arrival in the stage", "Eintritt in die Phase"),
    "rule.name": Words("Name of the rule", "Name der Regel"),
}
OPERATORS = {
    "eq": Words("is", "ist"),
    "ne": Words("is not", "ist nicht"),
    "in": Words("is one of", "ist eines von"),
    "not_in": Words("is none of", "ist keines von"),
    "contains": Words("contains", "enthält"),
    "not_contains": Words("does not contain", "enthält nicht"),
    "starts_with": Words("starts with", "beginnt mit"),
    "ends_with": Words("ends with", "endet mit"),
    "gt": Words("is greater than", "ist größer als"),
    "gte": Words("is at least", "ist mindestens"),
    "lt": Words("is less than", "ist kleiner als"),
    "lte": Words("is at most", "ist höchstens"),
    "between": Words("is between", "liegt zwischen"),
    "before": Words("is before", "liegt vor"),
    "after": Words("is after", "liegt nach"),
    "on_or_before": Words("is not after", "liegt nicht nach"),
    "on_or_after": Words("is not before", "liegt nicht vor"),
    "within_last": Words("was within the last", "lag innerhalb der letzten"),
    "within_next": Words("is within the next", "liegt innerhalb der nächsten"),
    "in_department": Words("is of the department", "gehört zur Abteilung"),
    "contains_any": Words("contains any of", "enthält eines von"),
    "contains_all": Words("contains all of", "enthält alle von"),
    "count_eq": Words("has as many entries as", "hat so viele Einträge wie"),
    "count_gte": Words("has at least so many entries:", "hat mindestens so viele Einträge:"),
    "count_lte": Words("has at most so many entries:", "hat höchstens so viele Einträge:"),
    "empty": Words("is empty", "ist leer"),
    "not_empty": Words("is not empty", "ist nicht leer"),
    "changed": Words("has changed since arrival", "hat sich seit dem Eintritt geändert"),
}


# ------------------------------------------------------------------------------------------------ what is told by itself

ESCALATION = (
    Words("A rule waits for working hours", "Eine Regel wartet auf Arbeitszeit"),
    Words(
        "Rule *{rule}* has waited since {since} for the working hours of {person}. It waits on until you run, postpone or cancel it.",
        "Regel *{rule}* wartet seit {since} auf die Arbeitszeit von {person}. Sie wartet weiter, bis Sie sie ausführen, verschieben "
        "oder abbrechen.",
    ),
)
"""Title and text of the notice about a run that waits too long for the responsible person's hours (D10)."""

# ------------------------------------------------------------------------------------------------ what is wrong with a rule

FINDINGS = {
    "unknown_key": Words("This member does not exist.", "Diese Angabe gibt es nicht."),
    "setting_required": Words("This is required.", "Diese Angabe ist erforderlich."),
    "setting_unknown": Words("The type has no such setting.", "Der Typ hat diese Einstellung nicht."),
    "setting_not_allowed": Words("This does not go with the other settings.", "Das passt nicht zu den anderen Einstellungen."),
    "wrong_type": Words("This value does not fit here.", "Dieser Wert passt hier nicht."),
    "too_long": Words("The text is too long.", "Der Text ist zu lang."),
    "empty_list": Words("Nothing is chosen.", "Es ist nichts ausgewählt."),
    "empty_map": Words("Nothing is chosen.", "Es ist nichts ausgewählt."),
    "out_of_range": Words("The value is out of range.", "Der Wert liegt außerhalb des Erlaubten."),
    "unknown_rule_type": Words("There is no such type of rule.", "Diesen Regeltyp gibt es nicht."),
    "unknown_trigger_type": Words("There is no such type of trigger.", "Diesen Auslösertyp gibt es nicht."),
    "rule_type_retired": Words("This type of rule is not offered any more.", "Dieser Regeltyp wird nicht mehr angeboten."),
    "type_not_for_element": Words("This type is not for this kind of element.", "Dieser Typ ist nicht für diese Art von Element."),
    "target_not_offered": Words("This cannot be created from the element.", "Das kann aus dem Element nicht erstellt werden."),
    "bad_code": Words("This is no valid short name.", "Das ist kein gültiger Kurzname."),
    "duplicate_id": Words("The short name is taken on this stage.", "Der Kurzname ist in dieser Phase vergeben."),
    "unknown_pipeline": Words("There is no such pipeline.", "Diese Pipeline gibt es nicht."),
    "unknown_stage": Words("There is no such stage.", "Diese Phase gibt es nicht."),
    "target_missing": Words("The target is gone or archived.", "Das Ziel ist entfernt oder archiviert."),
    "target_is_own_stage": Words("A copy into the rule's own stage would never end.", "Eine Kopie in die eigene Phase würde nie enden."),
    "trigger_other_pipeline": Words("This rule belongs to another pipeline.", "Diese Regel gehört zu einer anderen Pipeline."),
    "unknown_user": Words("There is no such employee.", "Diesen Mitarbeiter gibt es nicht."),
    "inactive_user": Words(
        "This employee is deactivated; someone will stand in.", "Dieser Mitarbeiter ist deaktiviert; jemand springt ein."
    ),
    "unknown_role": Words("Nobody has this role.", "Niemand hat diese Rolle."),
    "unknown_template": Words("There is no such template.", "Diese Vorlage gibt es nicht."),
    "template_of_other_owner_type": Words(
        "The template is for the other kind of customer.", "Die Vorlage gilt für die andere Art von Kunden."
    ),
    "unknown_field": Words("The template has no such field.", "Die Vorlage hat dieses Feld nicht."),
    "unknown_address_type": Words("There is no such type of address.", "Diese Adressart gibt es nicht."),
    "address_type_missing": Words("A field of an address needs an address type.", "Ein Adressfeld braucht eine Adressart."),
    "unknown_constant": Words("There is no such constant.", "Diese Konstante gibt es nicht."),
    "unknown_variable": Words("There is no such variable.", "Diese Variable gibt es nicht."),
    "constant_by_rule": Words("Rules change variables, never constants.", "Regeln ändern Variablen, nie Konstanten."),
    "not_visible_here": Words("This value cannot be used here.", "Dieser Wert ist hier nicht verwendbar."),
    "unknown_colour": Words("There is no such colour.", "Diese Farbe gibt es nicht."),
    "unknown_room": Words("There is no such room.", "Diesen Raum gibt es nicht."),
    "unknown_file": Words("There is no such file.", "Diese Datei gibt es nicht."),
    "bad_time": Words("The time cannot be read.", "Der Zeitpunkt ist nicht lesbar."),
    "bad_offset": Words("The span of time cannot be read.", "Die Zeitspanne ist nicht lesbar."),
    "bad_zone": Words("There is no such time zone.", "Diese Zeitzone gibt es nicht."),
    "anchor_not_a_date": Words("This field is no date.", "Dieses Feld ist kein Datum."),
    "time_required": Words("A time of day is missing.", "Es fehlt eine Uhrzeit."),
    "bad_condition": Words("The condition cannot be read.", "Die Bedingung ist nicht lesbar."),
    "unknown_path": Words("There is no such field.", "Dieses Feld gibt es nicht."),
    "operator_not_for_type": Words("The field cannot be compared like this.", "Das Feld kann so nicht verglichen werden."),
    "bad_literal": Words("The field cannot be compared with this.", "Damit kann das Feld nicht verglichen werden."),
    "too_many_nodes": Words("The condition has too many parts.", "Die Bedingung hat zu viele Teile."),
    "too_deep": Words("The condition is nested too deeply.", "Die Bedingung ist zu tief verschachtelt."),
    "bad_template": Words("The placeholders cannot be read.", "Die Platzhalter sind nicht lesbar."),
    "unknown_filter": Words("There is no such filter.", "Diesen Filter gibt es nicht."),
    "template_too_long": Words("The text is too long.", "Der Text ist zu lang."),
    "unknown_output": Words("No rule above has this result.", "Keine Regel darüber hat dieses Ergebnis."),
    "output_not_ordered": Words("This rule does not wait for that one.", "Diese Regel wartet nicht auf jene."),
    "output_of_later_rule": Words("That rule stands below this one.", "Jene Regel steht unter dieser."),
    "after_previous_without_previous": Words(
        "The first rule of a stage waits for nothing.", "Die erste Regel einer Phase wartet auf nichts."
    ),
    "not_allowed_for_author": Words("You lack a right that the rule needs.", "Ihnen fehlt ein Recht, das die Regel braucht."),
    "too_many_rules": Words("The stage has too many rules.", "Die Phase hat zu viele Regeln."),
}
"""By the code of a finding (rule-format 8); what exactly it is stands in its `detail`."""
