"""What automation says to people, in English and German: labels of the catalogue, and the sentences of explanations (README 8).

Every text stands here once. The machine's names (`create_payment_link`, `past_target`) are the keys; nothing else is translated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
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
    "element": Words("The element itself", "Das Element selbst"),
    "refunds": Words("Refunds", "Rückzahlungen"),
    "documents": Words("Documents", "Dokumente"),
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
    "change_responsible": Words("Change responsible person", "Verantwortliche Person ändern"),
    "change_stage": Words("Change stage", "Phase ändern"),
    "change_field": Words("Change field", "Feld ändern"),
    "change_variable": Words("Change variable", "Variable ändern"),
    "call_webhook": Words("Call webhook", "Webhook aufrufen"),
}
TRIGGER_TYPES = {
    "invoice_paid": Words("Track invoice payment", "Rechnungszahlung verfolgen"),
    "invoice_refunded": Words("Track refunds", "Rückzahlungen verfolgen"),
    "sign_document_signed": Words("Document signed", "Dokument unterschrieben"),
    "activity_completed": Words("Activity completed", "Aktivität abgeschlossen"),
    "webhook": Words("Incoming webhook", "Eingehender Webhook"),
    "app": Words("Trigger of an app", "Auslöser einer App"),
    "external_event": Words("External event", "Externes Ereignis"),
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
    "new_responsible": Words("New responsible person", "Neue verantwortliche Person"),
    "new_stage": Words("New stage", "Neue Phase"),
    "loss_reason": Words("Reason of the loss", "Verlustgrund"),
    "empty_values": Words("When a new value is empty", "Wenn ein neuer Wert leer ist"),
    "endpoint": Words("Webhook endpoint", "Webhook-Ziel"),
    "payload": Words("What is sent", "Was gesendet wird"),
    "wait": Words("Wait for an answer", "Auf eine Antwort warten"),
    "timeout": Words("Wait for at most", "Höchstens warten"),
    "outputs": Words("Values of the answer", "Werte der Antwort"),
    "scope": Words("Which invoices", "Welche Rechnungen"),
    "threshold": Words("From a part of the amount", "Ab einem Teil des Betrags"),
    "also_automatic": Words("Also when it was completed automatically", "Auch wenn sie automatisch abgeschlossen wurde"),
    "code": Words("Code", "Code"),
    "app_code": Words("Code of the app", "Code der App"),
    "event_type": Words("Type of the event", "Typ des Ereignisses"),
    "source": Words("Only from this source", "Nur von dieser Quelle"),
    "element_path": Words("Where the element's id stands", "Wo die Id des Elements steht"),
    "event_fields": Words("What the event brings", "Was das Ereignis mitbringt"),
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
    "outputs": {
        "bool": Words("Yes or no", "Ja oder nein"),
        "date": Words("Date", "Datum"),
        "datetime": Words("Date and time", "Datum und Uhrzeit"),
        "double": Words("Number", "Zahl"),
        "file": Words("File", "Datei"),
        "int": Words("Whole number", "Ganze Zahl"),
        "select": Words("Choice", "Auswahl"),
        "string": Words("Short text", "Kurzer Text"),
        "text": Words("Text", "Text"),
        "user": Words("Employee", "Mitarbeiter"),
    },
    "empty_values": {
        "keep": Words("Leave the field as it is", "Feld lassen, wie es ist"),
        "clear": Words("Empty the field", "Feld leeren"),
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
    "title": Words("Title", "Titel"),
    "refunded": Words("Amount refunded", "Erstatteter Betrag"),
    "amount_due": Words("Amount due again", "Wieder offener Betrag"),
    "reason": Words("Reason", "Grund"),
    "signer": Words("Who signed", "Wer unterschrieben hat"),
    "at": Words("Signed at", "Unterschrieben am"),
    "name": Words("Name of the activity", "Name der Aktivität"),
    "by": Words("Completed by", "Abgeschlossen durch"),
    "completed_at": Words("Completed at", "Abgeschlossen am"),
    "responsible_id": Words("Responsible person of the activity", "Verantwortliche Person der Aktivität"),
    "ce_type": Words("Type of the event", "Typ des Ereignisses"),
    "ce_source": Words("Source of the event", "Quelle des Ereignisses"),
    "ce_subject": Words("Subject of the event", "Gegenstand des Ereignisses"),
    "ce_time": Words("Time of the event", "Zeit des Ereignisses"),
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
    "bad_event_type": Words("This is no type of a foreign event.", "Das ist kein Typ eines fremden Ereignisses."),
    "bad_path": Words("This is no path into an event.", "Das ist kein Pfad in ein Ereignis."),
    "unknown_app_trigger": Words("The app has registered no such trigger.", "Die App hat keinen solchen Auslöser angemeldet."),
    "bad_code": Words("This is no valid short name.", "Das ist kein gültiger Kurzname."),
    "duplicate_id": Words("The short name is taken.", "Der Kurzname ist vergeben."),
    "unknown_pipeline": Words("There is no such pipeline.", "Diese Pipeline gibt es nicht."),
    "unknown_stage": Words("There is no such stage.", "Diese Phase gibt es nicht."),
    "target_missing": Words("The target is gone or archived.", "Das Ziel ist entfernt oder archiviert."),
    "stage_of_other_pipeline": Words("This stage belongs to another pipeline.", "Diese Phase gehört zu einer anderen Pipeline."),
    "target_is_own_stage": Words("The target is the rule's own stage.", "Das Ziel ist die eigene Phase der Regel."),
    "field_not_settable": Words("This rule cannot set the field.", "Diese Regel kann das Feld nicht setzen."),
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
    "unknown_field": Words("There is no such field here.", "Dieses Feld gibt es hier nicht."),
    "unknown_address_type": Words("There is no such type of address.", "Diese Adressart gibt es nicht."),
    "address_type_missing": Words("A field of an address needs an address type.", "Ein Adressfeld braucht eine Adressart."),
    "unknown_constant": Words("There is no such constant.", "Diese Konstante gibt es nicht."),
    "unknown_variable": Words("There is no such variable.", "Diese Variable gibt es nicht."),
    "constant_by_rule": Words("Rules change variables, never constants.", "Regeln ändern Variablen, nie Konstanten."),
    "not_visible_here": Words("This value cannot be used here.", "Dieser Wert ist hier nicht verwendbar."),
    "unknown_colour": Words("There is no such colour.", "Diese Farbe gibt es nicht."),
    "unknown_room": Words("There is no such room.", "Diesen Raum gibt es nicht."),
    "unknown_endpoint": Words("There is no such webhook endpoint, or it is off.", "Dieses Webhook-Ziel gibt es nicht, oder es ist aus."),
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
    "cycle": Words(
        "What the rule makes leads back to the rule: it would run in a circle and is held back.",
        "Was die Regel anlegt, führt zu ihr zurück: Sie liefe im Kreis und wird zurückgehalten.",
    ),
    "never_matches": Words("The condition can never hold.", "Die Bedingung kann nie zutreffen."),
    "two_writers": Words(
        "Another rule of the stage writes the same, and neither waits for the other.",
        "Eine andere Regel der Phase schreibt dasselbe, und keine wartet auf die andere.",
    ),
    "timing_before_possible": Words(
        "The rule is due before a moment that its condition wants to be past.",
        "Die Regel wird vor einem Zeitpunkt fällig, der laut ihrer Bedingung vorbei sein soll.",
    ),
    "unreachable_trigger": Words(
        "Nothing can move to the first stage unless moving back is allowed.",
        "In die erste Phase kann nichts wechseln, solange der Weg zurück nicht erlaubt ist.",
    ),
    "shadowed_by_condition": Words(
        "A trigger above it always wins when this one would.", "Ein Auslöser darüber gewinnt immer, wenn dieser zuträfe."
    ),
}
"""By the code of a finding (rule-format 8); what exactly it is stands in its `detail`."""

# ------------------------------------------------------------------------------------------------ what became of rules and triggers

STATES = {
    "scheduled": Words("planned", "geplant"),
    "waiting": Words("waiting", "wartend"),
    "due": Words("due", "fällig"),
    "running": Words("running", "laufend"),
    "succeeded": Words("succeeded", "erfolgreich"),
    "partial": Words("partly succeeded", "teilweise erfolgreich"),
    "failed": Words("failed", "fehlgeschlagen"),
    "skipped": Words("skipped", "übersprungen"),
    "blocked": Words("held back", "zurückgehalten"),
    "cancelled": Words("cancelled", "abgebrochen"),
    "missed": Words("missed", "verpasst"),
    "undone": Words("undone", "rückgängig gemacht"),
}
"""Of a run."""

REASONS = {
    "condition_false": Words("its condition did not hold", "ihre Bedingung war nicht erfüllt"),
    "rule_disabled": Words("the rule was disabled", "die Regel war ausgeschaltet"),
    "rule_deleted": Words("the rule was deleted", "die Regel wurde gelöscht"),
    "replaced": Words("a new version replaced it", "eine neue Version hat sie ersetzt"),
    "no_client": Words("there is neither a contact nor a company", "es gibt weder Kontakt noch Firma"),
    "open_exists": Words("an open one exists already", "es gibt schon etwas Offenes"),
    "payment_document_exists": Words("there is a payment document already", "es gibt schon ein Zahlungsdokument"),
    "no_details": Words("there are no details to change", "es gibt keine Kundendaten zu ändern"),
    "already_there": Words("the element stands in the stage already", "das Element steht schon in der Phase"),
    "visit_changed": Words("the element has moved on meanwhile", "das Element ist inzwischen weitergezogen"),
    "nothing_to_change": Words("everything is so already", "alles ist schon so"),
    "not_in_rollout": Words("this version is not for every stay", "diese Version gilt nicht für jeden Aufenthalt"),
    "field_empty": Words("its date field is empty", "ihr Datumsfeld ist leer"),
    "past_dropped": Words("its time had passed", "ihr Zeitpunkt war vorbei"),
    "loop": Words("it led to itself", "sie hat sich selbst ausgelöst"),
    "depth": Words("the chain of rules is too long", "die Kette der Regeln ist zu lang"),
    "rate": Words("too many rules ran for the element in a minute", "zu viele Regeln liefen für das Element in einer Minute"),
    "predecessor": Words("the rule above it did not end well", "die Regel darüber ist nicht gut ausgegangen"),
    "unresolved": Words("a placeholder has no value", "ein Platzhalter hat keinen Wert"),
    "stage_left": Words("the element left the stage", "das Element hat die Phase verlassen"),
    "element_deleted": Words("the element was deleted", "das Element wurde gelöscht"),
    "by_person": Words("somebody cancelled it", "jemand hat sie abgebrochen"),
    "target_missing": Words("its target is gone", "ihr Ziel gibt es nicht mehr"),
    "field_removed": Words("a field it names was removed", "ein Feld, das sie nennt, wurde entfernt"),
    "nothing_to_pay": Words("there is nothing to pay", "es gibt nichts zu bezahlen"),
    "nothing_to_invoice": Words("there is nothing to invoice", "es gibt nichts zu berechnen"),
    "order_missing": Words("the order number is empty", "die Bestellnummer ist leer"),
    "order_not_found": Words("there is no such order", "diese Bestellung gibt es nicht"),
    "file_missing": Words("a file was removed", "eine Datei wurde entfernt"),
    "deadline_missing": Words("the activity has no deadline", "die Aktivität hat keine Frist"),
    "room_booked": Words("the room is taken", "der Raum ist belegt"),
    "recipient_missing": Words("no recipient is left", "es bleibt kein Empfänger"),
    "bad_address": Words("an address cannot be written to", "eine Adresse ist nicht erreichbar"),
    "template_error": Words("a text could not be filled", "ein Text ließ sich nicht füllen"),
    "unreachable": Words("nobody answered at its address", "unter der Adresse hat niemand geantwortet"),
    "refused_by_endpoint": Words(
        "the program that was called did not take the call", "das aufgerufene Programm hat den Aufruf nicht angenommen"
    ),
    "gone_410": Words("the program that was called is gone", "das aufgerufene Programm gibt es nicht mehr"),
    "url_not_allowed": Words("its address must not be called", "die Adresse darf nicht aufgerufen werden"),
    "endpoint_disabled": Words("the webhook endpoint is switched off", "der Webhook-Endpunkt ist ausgeschaltet"),
    "nothing_to_quote": Words("there is nothing to quote", "es gibt nichts anzubieten"),
    "no_signer": Words("nobody can sign: there is no contact", "niemand kann unterschreiben: Es gibt keinen Kontakt"),
    "sign_template_unknown": Words("there is no such document to sign", "dieses Dokument zur Unterschrift gibt es nicht"),
    "already_converted": Words("the lead has become that already", "der Lead ist das schon geworden"),
    "callback_expired": Words("no answer came in time", "es kam keine Antwort zur Zeit"),
    "retries_exhausted": Words("it was tried often enough", "es wurde oft genug versucht"),
    "too_many_steps": Words("the stay has too many steps", "der Aufenthalt hat zu viele Schritte"),
}
"""Why a run was skipped, held back, cancelled, or failed: behind "because"."""

VERDICTS = {
    "won": Words("it won", "er hat gewonnen"),
    "outranked": Words("another trigger was nearer", "ein anderer Auslöser lag näher"),
    "condition_false": Words("its condition did not hold", "seine Bedingung war nicht erfüllt"),
    "not_in_scope": Words("its settings mean something else", "seine Einstellungen meinen etwas anderes"),
    "already_there": Words("the element stands there already", "das Element steht schon dort"),
    "past_target": Words("the element is past its stage", "das Element ist an seiner Phase vorbei"),
    "final_stage": Words("the element stands in a final stage", "das Element steht in einer Endphase"),
    "other_pipeline": Words("the element is in another pipeline", "das Element ist in einer anderen Pipeline"),
    "disabled": Words("it was disabled", "er war ausgeschaltet"),
    "loop": Words("it led to itself", "er hat sich selbst ausgelöst"),
    "target_missing": Words("its stage is gone", "seine Phase gibt es nicht mehr"),
    "element_deleted": Words("the element was deleted", "das Element wurde gelöscht"),
    "required_fields_missing": Words("fields that its stage requires are empty", "Pflichtfelder seiner Phase sind leer"),
    "no_candidate": Words("no trigger was for it", "kein Auslöser war dafür da"),
    "visit_changed": Words("the element moved again and again meanwhile", "das Element ist inzwischen immer wieder weitergezogen"),
}
"""Of a trigger, or why its move came to nothing: behind "because"."""

WEEKDAYS = {
    "mon": Words("Monday", "Montag"),
    "tue": Words("Tuesday", "Dienstag"),
    "wed": Words("Wednesday", "Mittwoch"),
    "thu": Words("Thursday", "Donnerstag"),
    "fri": Words("Friday", "Freitag"),
    "sat": Words("Saturday", "Samstag"),
    "sun": Words("Sunday", "Sonntag"),
}
MONTHS = (
    Words("January", "Januar"),
    Words("February", "Februar"),
    Words("March", "März"),
    Words("April", "April"),
    Words("May", "Mai"),
    Words("June", "Juni"),
    Words("July", "Juli"),
    Words("August", "August"),
    Words("September", "September"),
    Words("October", "Oktober"),
    Words("November", "November"),
    Words("December", "Dezember"),
)
UNITS = {
    "months": (Words("month", "Monat"), Words("months", "Monate")),
    "weeks": (Words("week", "Woche"), Words("weeks", "Wochen")),
    "days": (Words("day", "Tag"), Words("days", "Tage")),
    "hours": (Words("hour", "Stunde"), Words("hours", "Stunden")),
    "minutes": (Words("minute", "Minute"), Words("minutes", "Minuten")),
    "seconds": (Words("second", "Sekunde"), Words("seconds", "Sekunden")),
}
NOTES = {
    "currency_differs": Words("the currency is another", "die Währung ist eine andere"),
    "literal_missing": Words("what it is compared with has no value", "der Vergleichswert ist leer"),
}
YES = Words("yes", "ja")
NO = Words("no", "nein")
NOTHING = Words("empty", "leer")
AND = Words(" and ", " und ")
ANCHORS = {
    "arrival": Words("the arrival in the stage", "dem Eintritt in die Phase"),
    "previous": Words("the end of the rule above", "dem Ende der Regel darüber"),
}

# ---- the answer in one sentence

RULE_ANSWERS = {
    "ran": Words("The rule ran.", "Die Regel ist gelaufen."),
    "running": Words(
        "The rule ran; not everything it asked for is answered yet.", "Die Regel ist gelaufen; noch ist nicht alles beantwortet."
    ),
    "waiting_callback": Words(
        "The rule called a webhook and waits for its answer until {until}.",
        "Die Regel hat einen Webhook aufgerufen und wartet bis {until} auf die Antwort.",
    ),
    "condition_false": Words("The rule did not run because {culprit}.", "Die Regel ist nicht gelaufen: {culprit}."),
    "rule_added_later": Words(
        "The rule did not run: it came into force only after the element had arrived in the stage.",
        "Die Regel ist nicht gelaufen: Sie wurde erst in Kraft gesetzt, als das Element schon in der Phase war.",
    ),
    "rule_not_published": Words("The rule was never published.", "Die Regel wurde nie veröffentlicht."),
    "rule_disabled": Words("The rule did not run: it was disabled.", "Die Regel ist nicht gelaufen: Sie war ausgeschaltet."),
    "rule_deleted": Words("The rule did not run: it was deleted.", "Die Regel ist nicht gelaufen: Sie wurde gelöscht."),
    "rule_invalid": Words(
        "The rule did not run: something it needs was gone.", "Die Regel ist nicht gelaufen: Etwas, das sie braucht, fehlte."
    ),
    "stage_left": Words(
        "The rule did not run: the element left the stage before its time.",
        "Die Regel ist nicht gelaufen: Das Element hat die Phase vorher verlassen.",
    ),
    "element_deleted": Words("The rule did not run: the element was deleted.", "Die Regel ist nicht gelaufen: Das Element wurde gelöscht."),
    "loop_blocked": Words(
        "The rule was held back: this arrival goes back to the rule itself, so it would run in a circle.",
        "Die Regel wurde zurückgehalten: Dieser Eintritt geht auf die Regel selbst zurück, sie liefe im Kreis.",
    ),
    "depth_blocked": Words(
        "The rule was held back: ten rules and triggers had led here already.",
        "Die Regel wurde zurückgehalten: Zehn Regeln und Auslöser hatten schon hierher geführt.",
    ),
    "rate_blocked": Words(
        "The rule was held back: more than 60 rules ran for this element within a minute.",
        "Die Regel wurde zurückgehalten: Mehr als 60 Regeln liefen binnen einer Minute für dieses Element.",
    ),
    "predecessor_blocked": Words(
        "The rule is held back: the rule above it, {above}, has {state}.",
        "Die Regel wird zurückgehalten: Die Regel darüber, {above}, ist {state}.",
    ),
    "unresolved_blocked": Words(
        "The rule is held back: a placeholder has no value.", "Die Regel wird zurückgehalten: Ein Platzhalter hat keinen Wert."
    ),
    "not_in_rollout": Words(
        "The rule did not run: its version is for a part of all stays, and this is none of them.",
        "Die Regel ist nicht gelaufen: Ihre Version gilt für einen Teil der Aufenthalte, und dieser gehört nicht dazu.",
    ),
    "waiting_timer": Words("The rule waits until {until}.", "Die Regel wartet bis {until}."),
    "waiting_quota": Words(
        "The rule waits its turn, until {until}: more rules begin at once than the quota of the account allows in a second.",
        "Die Regel wartet bis {until}, bis sie an der Reihe ist: Es beginnen mehr Regeln, als das Kontingent in einer Sekunde zulässt.",
    ),
    "waiting_unknown": Words("The rule waits; its time is being worked out.", "Die Regel wartet; ihr Zeitpunkt wird noch berechnet."),
    "waiting_responsible_hours": Words(
        "The rule waits for the responsible person's hours, until {until}.",
        "Die Regel wartet auf die Arbeitszeit der verantwortlichen Person, bis {until}.",
    ),
    "waiting_field": Words("The rule waits until {field} is filled in.", "Die Regel wartet, bis {field} ausgefüllt ist."),
    "waiting_predecessor": Words(
        "The rule waits for the rule above it, {above}, to end.", "Die Regel wartet, bis die Regel darüber, {above}, beendet ist."
    ),
    "suppressed": Words(
        "The rule did not run: the element came by an import or a change that starts no rules.",
        "Die Regel ist nicht gelaufen: Das Element kam durch einen Import oder eine Änderung, die keine Regeln startet.",
    ),
    "not_in_stage": Words("The element has never been in the rule's stage.", "Das Element war nie in der Phase der Regel."),
    "missed": Words(
        "The rule came due too late and waits for a person to decide.", "Die Regel wurde zu spät fällig und wartet auf eine Entscheidung."
    ),
    "failed": Words("The rule failed: {why}.", "Die Regel ist fehlgeschlagen: {why}."),
    "partial": Words("The rule ran in part: {why}.", "Die Regel ist nur teilweise gelaufen: {why}."),
    "skipped": Words("The rule had nothing to do: {why}.", "Die Regel hatte nichts zu tun: {why}."),
    "cancelled": Words("The rule was cancelled: {why}.", "Die Regel wurde abgebrochen: {why}."),
    "undone": Words("The rule ran and was undone.", "Die Regel ist gelaufen und wurde rückgängig gemacht."),
}
SHADOWS = {
    "would_run": Words("It would have run.", "Sie wäre gelaufen."),
    "would_wait": Words("It would have waited for its time.", "Sie hätte auf ihren Zeitpunkt gewartet."),
    "condition_false": Words("Its condition did not hold.", "Ihre Bedingung traf nicht zu."),
    "unresolved": Words("A placeholder had no value.", "Ein Platzhalter hatte keinen Wert."),
    "template_error": Words("A text could not be filled.", "Ein Text ließ sich nicht füllen."),
}
"""What a version in shadow would have done."""
TRIGGER_ANSWERS = {
    "ran": Words("The trigger moved the element.", "Der Auslöser hat das Element bewegt."),
    "moving": Words(
        "The trigger asked for the move; it is not answered yet.", "Der Auslöser hat den Wechsel verlangt; die Antwort steht aus."
    ),
    "move_refused": Words("The trigger asked for the move in vain: {why}.", "Der Auslöser hat den Wechsel vergeblich verlangt: {why}."),
    "outranked": Words(
        "The trigger did not move the element: the trigger {by} was nearer.",
        "Der Auslöser hat das Element nicht bewegt: Der Auslöser {by} lag näher.",
    ),
    "past_target": Words(
        "The trigger did not move the element: it is past the target stage, and moving back is not allowed.",
        "Der Auslöser hat das Element nicht bewegt: Es ist an der Zielphase vorbei, und zurück ist nicht erlaubt.",
    ),
    "already_there": Words(
        "The trigger did not move the element: it stands in the target stage already.",
        "Der Auslöser hat das Element nicht bewegt: Es steht schon in der Zielphase.",
    ),
    "final_stage": Words(
        "The trigger did not move the element: it stands in a final stage, and leaving that is not allowed.",
        "Der Auslöser hat das Element nicht bewegt: Es steht in einer Endphase, und die darf es nicht verlassen.",
    ),
    "condition_false": Words(
        "The trigger did not move the element because {culprit}.", "Der Auslöser hat das Element nicht bewegt: {culprit}."
    ),
    "loop_blocked": Words(
        "The trigger was held back: what happened goes back to the trigger itself.",
        "Der Auslöser wurde zurückgehalten: Was geschah, geht auf den Auslöser selbst zurück.",
    ),
    "trigger_added_later": Words(
        "The trigger did not act: it came into force only after this had happened.",
        "Der Auslöser hat nicht gewirkt: Er wurde erst in Kraft gesetzt, als es schon geschehen war.",
    ),
    "trigger_not_published": Words("The trigger was never published.", "Der Auslöser wurde nie veröffentlicht."),
    "trigger_disabled": Words("The trigger did not act: it was disabled.", "Der Auslöser hat nicht gewirkt: Er war ausgeschaltet."),
    "trigger_deleted": Words("The trigger did not act: it was deleted.", "Der Auslöser hat nicht gewirkt: Er wurde gelöscht."),
    "trigger_invalid": Words(
        "The trigger did not act: its stage was gone.", "Der Auslöser hat nicht gewirkt: Seine Phase gab es nicht mehr."
    ),
    "other_pipeline": Words(
        "The trigger did not act: the element was in another pipeline.",
        "Der Auslöser hat nicht gewirkt: Das Element war in einer anderen Pipeline.",
    ),
    "waiting": Words(
        "It is not decided yet: what happened waits for the element or its link to be known.",
        "Es ist noch nicht entschieden: Was geschah, wartet darauf, dass das Element oder seine Verknüpfung bekannt wird.",
    ),
    "unresolved": Words(
        "It could not be decided and waits for a person: {why}.", "Es ließ sich nicht entscheiden und wartet auf einen Menschen: {why}."
    ),
    "nothing_happened": Words(
        "Nothing that this trigger listens to has happened to the element.",
        "Nichts, worauf dieser Auslöser achtet, ist mit dem Element geschehen.",
    ),
    "ignored": Words("The trigger did not move the element: {why}.", "Der Auslöser hat das Element nicht bewegt: {why}."),
}

# ---- what was looked at, one after the other

LOOKED_AT = {
    "arrived": Words(
        "The element arrived in the stage on {at} (stay {number}).", "Das Element kam am {at} in die Phase (Aufenthalt {number})."
    ),
    "never_arrived": Words("The element has not been in this stage.", "Das Element war nicht in dieser Phase."),
    "suppressed": Words("This arrival starts no rules.", "Dieser Eintritt startet keine Regeln."),
    "version": Words("Version {version} was in force.", "Version {version} war in Kraft."),
    "published_later": Words("It came into force on {at}, after the arrival.", "In Kraft gesetzt wurde sie am {at}, nach dem Eintritt."),
    "trigger_published_later": Words("It came into force on {at}, later.", "In Kraft gesetzt wurde er am {at}, also später."),
    "not_in_force": Words("It was not in force: {why}.", "In Kraft war nichts: {why}."),
    "never_published": Words("There is a draft only.", "Es gibt nur einen Entwurf."),
    "no_guard": Words("No guard held it back.", "Keine Sicherung hat sie zurückgehalten."),
    "guard": Words("A guard held it back: {why}.", "Eine Sicherung hat sie zurückgehalten: {why}."),
    "above_ended": Words("The rule above, {above}, has {state}.", "Die Regel darüber, {above}, ist {state}."),
    "above_pending": Words("The rule above, {above}, is {state}.", "Die Regel darüber, {above}, ist {state}."),
    "at_once": Words("It was due at once.", "Sie war sofort fällig."),
    "waits_until": Words("It waits until {until}.", "Sie wartet bis {until}."),
    "waited_until": Words("It was due on {until}.", "Fällig war sie am {until}."),
    "waits_unknown": Words("Its time is being worked out.", "Ihr Zeitpunkt wird berechnet."),
    "waits_its_turn": Words("It waits its turn, until {until}.", "Sie wartet, bis sie an der Reihe ist: {until}."),
    "waits_for_field": Words("It waits until {field} is filled in.", "Sie wartet, bis {field} ausgefüllt ist."),
    "field_empty": Words("Its date field is empty.", "Ihr Datumsfeld ist leer."),
    "too_late": Words("It came due too late.", "Sie wurde zu spät fällig."),
    "no_time_yet": Words("Its time has not been looked at.", "Ihr Zeitpunkt wurde nicht betrachtet."),
    "no_condition": Words("There is no condition.", "Es gibt keine Bedingung."),
    "condition_holds": Words("The condition held on {at}.", "Die Bedingung war am {at} erfüllt."),
    "condition_fails": Words("The condition did not hold on {at}.", "Die Bedingung war am {at} nicht erfüllt."),
    "condition_open": Words("The condition has not been judged.", "Die Bedingung wurde nicht geprüft."),
    "condition_at_arrival": Words("At arrival the condition held.", "Beim Eintritt war die Bedingung erfüllt."),
    "condition_not_at_arrival": Words("At arrival the condition did not hold.", "Beim Eintritt war die Bedingung nicht erfüllt."),
    "all": Words("All of these hold:", "Alles davon gilt:"),
    "any": Words("At least one of these holds:", "Mindestens eines davon gilt:"),
    "not": Words("This does not hold:", "Das gilt nicht:"),
    "leaf": Words("{field} {op} {value}: {answer}, it was {found}", "{field} {op} {value}: {answer}, der Wert war {found}"),
    "leaf_alone": Words("{field} {op}: {answer}, it was {found}", "{field} {op}: {answer}, der Wert war {found}"),
    "culprit": Words(
        "{field} was {found}, and the condition says: {field} {op} {value}",
        "{field} war {found}, die Bedingung lautet: {field} {op} {value}",
    ),
    "no_culprit": Words("its condition did not hold", "die Bedingung war nicht erfüllt"),
    "action_open": Words("It has not acted.", "Sie hat nicht gehandelt."),
    "acted": Words("It acted: {state}.", "Sie hat gehandelt: {state}."),
    "acted_because": Words("It acted: {state}, because {why}.", "Sie hat gehandelt: {state}, denn {why}."),
    "unresolved": Words("No value for: {missing}.", "Ohne Wert: {missing}."),
    "step": Words("{step}: {state}", "{step}: {state}"),
    "left": Words("The element left the stage on {at}.", "Das Element hat die Phase am {at} verlassen."),
    "deleted": Words("The element was deleted on {at}.", "Das Element wurde am {at} gelöscht."),
    "cancelled": Words("It was cancelled: {why}.", "Sie wurde abgebrochen: {why}."),
    "heard": Words("On {at} this happened: {what}.", "Am {at} geschah: {what}."),
    "nothing_heard": Words("Nothing of the kind has happened.", "Nichts dergleichen ist geschehen."),
    "in_scope": Words("It is what the trigger listens to.", "Darauf achtet der Auslöser."),
    "not_in_scope": Words("The trigger's settings mean something else.", "Die Einstellungen des Auslösers meinen etwas anderes."),
    "scope_open": Words("Whether the trigger listens to it was not looked at.", "Ob der Auslöser darauf achtet, wurde nicht geprüft."),
    "target_ahead": Words("Its stage could be moved to.", "Seine Phase kam infrage."),
    "target_no": Words("Its stage could not be moved to: {why}.", "Seine Phase kam nicht infrage: {why}."),
    "target_open": Words("Its stage was not looked at.", "Seine Phase wurde nicht betrachtet."),
    "nearest": Words("It was the nearest of {count}.", "Er lag am nächsten von {count}."),
    "outranked": Words("The trigger {by} was nearer.", "Der Auslöser {by} lag näher."),
    "moved": Words("The element was moved.", "Das Element wurde bewegt."),
    "move_asked": Words("The move was asked for.", "Der Wechsel wurde verlangt."),
    "move_refused": Words("The move was refused: {why}.", "Der Wechsel wurde abgelehnt: {why}."),
    "no_move": Words("Nothing was moved.", "Es wurde nichts bewegt."),
}
STEP_STATES = {
    "asked": Words("asked for, not answered yet", "verlangt, noch nicht beantwortet"),
    "done": Words("done", "erledigt"),
    "skipped": Words("nothing to do", "nichts zu tun"),
    "failed": Words("failed", "fehlgeschlagen"),
}
TIMINGS = {
    "after": Words("{offset} after {anchor}", "{offset} nach {anchor}"),
    "before": Words("{offset} before {anchor}", "{offset} vor {anchor}"),
    "at": Words("on {anchor}", "am {anchor}"),
    "time": Words("{time}, at {clock} local time", "{time}, um {clock} Uhr Ortszeit"),
    "company": Words("{time}, within the company's hours", "{time}, in den Zeiten des Unternehmens"),
    "responsible": Words("{time}, within the responsible person's hours", "{time}, in den Zeiten der verantwortlichen Person"),
    "due": Words("The rule says: {time}.", "Die Regel sagt: {time}."),
    "escalated": Words(
        "It has waited too long for the responsible person's hours since {since}.",
        "Sie wartet seit {since} zu lange auf die Arbeitszeit der verantwortlichen Person.",
    ),
    "late": Words("It was {ms} ms late.", "Sie kam {ms} ms zu spät."),
}
REASONING = (
    (re.compile(r"The anchor is (.+)\."), "Ausgangspunkt ist {0}."),
    (re.compile(r"(.+) is no working day: back to (.+)\."), "{0} ist kein Arbeitstag: zurück auf {1}."),
    (re.compile(r"(.+) after: (.+)\."), "{0} danach: {1}."),
    (re.compile(r"(.+) before: (.+)\."), "{0} davor: {1}."),
    (re.compile(r"At (\d\d:\d\d) local time: (.+)\."), "Um {0} Uhr Ortszeit: {1}."),
    (re.compile(r"Within working hours: (.+)\."), "Innerhalb der Arbeitszeit: {0}."),
    (re.compile(r"The company is closed then; it opens at (.+)\."), "Dann ist geschlossen; geöffnet wird {0}."),
    (
        re.compile(r"The responsible person is away for more than (\d+) days\."),
        "Die verantwortliche Person ist länger als {0} Tage abwesend.",
    ),
    (
        re.compile(r"The responsible person is not there then; expected at (.+)\."),
        "Die verantwortliche Person ist dann nicht da; erwartet wird sie {0}.",
    ),
    (re.compile(r"Due at ([^,]+)\."), "Fällig {0}."),
    (re.compile(r"Due at ([^,]+), not after now: at once\."), "Fällig {0}, also sofort."),
)
"""The scheduler's steps from the anchor to the due time, in German: pattern and translation."""
SPANS = {each.en: each.de for unit in UNITS.values() for each in unit} | {"working day": "Arbeitstag", "working days": "Arbeitstage"}
SPAN = re.compile(r"\b(\d+) (working days?|[a-z]+)\b")
"""How long before or after, in the scheduler's words."""

HAPPENED = {
    "Arrived": Words("arrived in the stage", "in die Phase gekommen"),
    "TimerAsked": Words("its time was asked for", "Zeitpunkt erfragt"),
    "TimerMoved": Words("its time was moved", "Zeitpunkt verschoben"),
    "TimerDropped": Words("its timer was taken back", "Wecker zurückgenommen"),
    "TimerArmed": Words("its time is {due_at}", "Zeitpunkt ist {due_at}"),
    "CallbackAwaited": Words("an answer is awaited until {due_at}", "eine Antwort wird bis {due_at} erwartet"),
    "CallbackOver": Words("no answer is awaited any more", "es wird keine Antwort mehr erwartet"),
    "RunEscalated": Words("somebody was told that it waits too long", "jemand wurde benachrichtigt, dass sie zu lange wartet"),
    "FieldAwaited": Words("waits for a field", "wartet auf ein Feld"),
    "Reopened": Words("the deleted element is back", "das gelöschte Element ist wieder da"),
    "RunJudged": Words("its condition was judged", "Bedingung geprüft"),
    "ShadowJudged": Words("a version in shadow was judged beside it", "eine Version im Schatten wurde daneben geprüft"),
    "TimerFired": Words("its timer fired, its condition was judged", "Wecker hat ausgelöst, Bedingung geprüft"),
    "Asked": Words("step {step} was asked for", "Schritt {step} verlangt"),
    "StepSucceeded": Words("step {step} is done", "Schritt {step} erledigt"),
    "StepFailed": Words("step {step} was refused: {code}", "Schritt {step} abgelehnt: {code}"),
    "RunEnded": Words("ended: {state}", "beendet: {state}"),
    "RunMissed": Words("missed its time", "Zeitpunkt verpasst"),
    "RunReleased": Words("went on", "ging weiter"),
    "Left": Words("the element left the stage", "das Element hat die Phase verlassen"),
    "Heard": Words("something happened", "etwas ist geschehen"),
    "FactAwaited": Words("waits for what is not known yet", "wartet auf noch Unbekanntes"),
    "WaitingEnded": Words("what was missing is known", "das Fehlende ist bekannt"),
    "LinkedTooLate": Words("linked too late: a person decides", "zu spät verknüpft: ein Mensch entscheidet"),
    "Judged": Words("all triggers were judged", "alle Auslöser geprüft"),
    "MoveAsked": Words("the move was asked for", "Wechsel verlangt"),
    "DecisionEnded": Words("decided: {outcome}", "entschieden: {outcome}"),
}
"""By the name of an event: what the list of facts says."""

OUTCOMES = {
    "moved": Words("moved", "bewegt"),
    "ignored": Words("nothing to move", "nichts zu bewegen"),
    "unresolved": Words("not decided", "nicht entschieden"),
}
SOURCE_TYPES = {
    "billing.InvoicePaid.v1": Words("an invoice was paid", "eine Rechnung wurde bezahlt"),
    "billing.InvoicePartiallyPaid.v1": Words("an invoice was paid in part", "eine Rechnung wurde teilweise bezahlt"),
    "billing.InvoiceRefunded.v1": Words("an invoice was refunded", "eine Rechnung wurde erstattet"),
    "billing.InvoiceReopened.v1": Words("an invoice is open again", "eine Rechnung ist wieder offen"),
    "billing.SignDocumentSigned.v1": Words("a document was signed", "ein Dokument wurde unterschrieben"),
    "scheduler.ActivityCompleted.v1": Words("an activity was completed", "eine Aktivität wurde abgeschlossen"),
    "automation.CallTrigger.v1": Words("the trigger was called", "der Auslöser wurde aufgerufen"),
}


def said(sentence: Words, **values: object) -> Words:
    """A sentence with its values: each in its language where it has words, else as it is."""

    def in_language(place: int) -> dict[str, object]:
        return {name: value[place] if isinstance(value, Words) else value for name, value in values.items()}

    return Words(sentence.en.format(**in_language(0)), sentence.de.format(**in_language(1)))


def joined(parts: Iterable[Words], between: Words) -> Words:
    many = list(parts)
    return Words(between.en.join(p.en for p in many), between.de.join(p.de for p in many))


def in_german(step: str) -> str:
    """A step of the scheduler's reasoning; one that has no pattern stays as it is."""
    found = ((pattern.fullmatch(step), german) for pattern, german in REASONING)
    return next((german.format(*map(_unit_in_german, match.groups())) for match, german in found if match is not None), step)


def _unit_in_german(part: str) -> str:
    """`180 days` is `180 Tage`, `1 day and 2 hours` is `1 Tag und 2 Stunden`; all else stays."""
    german = SPAN.sub(lambda found: f"{found[1]} {SPANS.get(found[2], found[2])}", part)
    return german if german == part else german.replace(AND.en, AND.de)
