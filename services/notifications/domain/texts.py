"""What the system itself says to people, in English and German; the recipient's language decides. (README 8)"""

from __future__ import annotations

from typing import NamedTuple


class Said(NamedTuple):
    title: str
    text: str


LANGUAGES = ("en", "de")

TEXTS: dict[str, dict[str, Said]] = {
    "invoice_paid": {
        "en": Said("Payment received", "Invoice {number} ({title}) is paid: {amount}."),
        "de": Said("Zahlung eingegangen", "Rechnung {number} ({title}) ist bezahlt: {amount}."),
    },
    "invoice_refunded": {
        "en": Said("Payment refunded", "An invoice was refunded: {amount}. Nothing was moved back by itself."),
        "de": Said("Zahlung erstattet", "Eine Rechnung wurde erstattet: {amount}. Es wurde nichts von selbst zurückbewegt."),
    },
    "invoice_reopened": {
        "en": Said("Invoice open again", "An invoice is open again ({reason}); due are {amount}. Nothing was moved back by itself."),
        "de": Said("Rechnung wieder offen", "Eine Rechnung ist wieder offen ({reason}); fällig: {amount}. Es wurde nichts zurückbewegt."),
    },
    "payment_reversed": {
        "en": Said("Payment taken back", "A payment of {amount} was taken back by the bank or provider."),
        "de": Said("Zahlung zurückgebucht", "Eine Zahlung über {amount} wurde von Bank oder Anbieter zurückgebucht."),
    },
    "overpaid": {
        "en": Said("Overpayment", "{amount} more than due came in; it is kept as the customer's credit."),
        "de": Said("Überzahlung", "{amount} mehr als fällig gingen ein; der Betrag ist Guthaben des Kunden."),
    },
    "unallocated": {
        "en": Said("Payment without a target", "A payment of {amount} could not be allocated: {reason}."),
        "de": Said("Zahlung ohne Ziel", "Eine Zahlung über {amount} konnte nicht zugeordnet werden: {reason}."),
    },
    "refund_unanswered": {
        "en": Said(
            "Refund in doubt", "The provider never answered whether it gave {amount} back. Look it up there, then settle it: {detail}"
        ),
        "de": Said("Erstattung ungewiss", "Der Anbieter hat nie geantwortet, ob er {amount} erstattet hat. Bitte dort klären: {detail}"),
    },
    "quote_accepted": {
        "en": Said("Quote accepted: {title}", "Quote {number} ({title}, {amount}) was accepted."),
        "de": Said("Angebot angenommen: {title}", "Angebot {number} ({title}, {amount}) wurde angenommen."),
    },
    "quote_declined": {
        "en": Said("Quote declined: {title}", "Quote {number} ({title}, {amount}) was declined. {reason}"),
        "de": Said("Angebot abgelehnt: {title}", "Angebot {number} ({title}, {amount}) wurde abgelehnt. {reason}"),
    },
    "document_signed": {
        "en": Said("Signed: {title}", "Everybody has signed the document {title}; {signer} was the last."),
        "de": Said("Unterschrieben: {title}", "Das Dokument {title} ist vollständig unterschrieben, zuletzt von {signer}."),
    },
    "document_declined": {
        "en": Said("Not signed: {title}", "{signer} does not sign the document {title}. {reason}"),
        "de": Said("Nicht unterschrieben: {title}", "{signer} unterschreibt das Dokument {title} nicht. {reason}"),
    },
    "link_not_mailed": {
        "en": Said("Not mailed: {title}", "{name} has no e-mail address any more and did not get the link to {title}: {url}"),
        "de": Said("Nicht verschickt: {title}", "{name} hat keine E-Mail-Adresse mehr und bekam den Link zu {title} nicht: {url}"),
    },
    "your_quote": {
        "en": Said(
            "Quote {number} from {seller}: {title}",
            "Hello {name},\n\nhere is our quote {number}, {title}, over {amount}. Please read it and accept or decline it here:\n\n{url}"
            "\n\n{until}Kind regards\n{seller}",
        ),
        "de": Said(
            "Angebot {number} von {seller}: {title}",
            "Guten Tag {name},\n\nhier ist unser Angebot {number}, {title}, über {amount}. Bitte lesen Sie es und nehmen Sie es an oder"
            " lehnen Sie es ab:\n\n{url}\n\n{until}Freundliche Grüße\n{seller}",
        ),
    },
    "to_sign": {
        "en": Said(
            "Please sign: {title}",
            "Hello {name},\n\n{seller} asks you to sign *{title}*. Please read and sign it here; the link is for you alone:\n\n{url}"
            "\n\n{until}Kind regards\n{seller}",
        ),
        "de": Said(
            "Bitte unterschreiben: {title}",
            "Guten Tag {name},\n\n{seller} bittet Sie, *{title}* zu unterschreiben. Bitte lesen und unterschreiben Sie hier; der Link ist"
            " nur für Sie:\n\n{url}\n\n{until}Freundliche Grüße\n{seller}",
        ),
    },
    "good_until": {
        "en": Said("", "It is good until {day}.\n\n"),
        "de": Said("", "Gültig bis {day}.\n\n"),
    },
    "run_failed": {
        "en": Said("Rule failed: {rule}", "Rule *{rule}*: {outcome}. {detail}"),
        "de": Said("Regel fehlgeschlagen: {rule}", "Regel *{rule}*: {outcome}. {detail}"),
    },
    "rule_invalid": {
        "en": Said("A rule is no longer valid", "A rule cannot run any more: {detail}"),
        "de": Said("Eine Regel ist nicht mehr gültig", "Eine Regel kann nicht mehr laufen: {detail}"),
    },
    "trigger_invalid": {
        "en": Said("A trigger is no longer valid", "A trigger cannot move anything any more: {detail}"),
        "de": Said("Ein Auslöser ist nicht mehr gültig", "Ein Auslöser kann nichts mehr bewegen: {detail}"),
    },
    "not_moved": {
        "en": Said("A trigger moved nothing", "Something happened that should have moved a deal, but it was not moved: {reason}."),
        "de": Said("Ein Auslöser hat nichts bewegt", "Etwas hätte ein Geschäft bewegen sollen, es wurde aber nicht bewegt: {reason}."),
    },
    "activity_yours": {
        "en": Said("{name}", "{name}: {local} ({zone})."),
        "de": Said("{name}", "{name}: {local} ({zone})."),
    },
    "activity_moved": {
        "en": Said("Changed: {name}", "{name} is now at {local} ({zone})."),
        "de": Said("Geändert: {name}", "{name} ist jetzt am {local} ({zone})."),
    },
    "activity_off": {
        "en": Said("Cancelled: {name}", "{name} does not take place: {reason}."),
        "de": Said("Abgesagt: {name}", "{name} findet nicht statt: {reason}."),
    },
    "reminder": {
        "en": Said("Soon: {name}", "{name} begins in {minutes} minutes."),
        "de": Said("Gleich: {name}", "{name} beginnt in {minutes} Minuten."),
    },
    "room_conflict": {
        "en": Said("Room booked twice", "The room of your activity on {local} ({zone}) is taken by another one as well."),
        "de": Said("Raum doppelt gebucht", "Der Raum Ihrer Aktivität am {local} ({zone}) ist auch anderweitig vergeben."),
    },
    "endpoint_disabled": {
        "en": Said("Webhook endpoint disabled", "Endpoint {url} was disabled: {reason}. Nothing is delivered to it until you enable it."),
        "de": Said("Webhook-Endpunkt abgeschaltet", "Endpunkt {url} wurde abgeschaltet: {reason}. Es wird nichts mehr dorthin geliefert."),
    },
    "invitation": {
        "en": Said("Invitation: {name}", "{organiser} invites you: {name}, {local} ({zone})."),
        "de": Said("Einladung: {name}", "{organiser} lädt Sie ein: {name}, {local} ({zone})."),
    },
    "invitation_changed": {
        "en": Said("Changed: {name}", "{organiser} has changed an appointment: {name}, {local} ({zone})."),
        "de": Said("Geändert: {name}", "{organiser} hat einen Termin geändert: {name}, {local} ({zone})."),
    },
    "invitation_withdrawn": {
        "en": Said("Cancelled: {name}", "{organiser} has cancelled an appointment: {name}, {local} ({zone})."),
        "de": Said("Abgesagt: {name}", "{organiser} hat einen Termin abgesagt: {name}, {local} ({zone})."),
    },
}


def said(what: str, language: str, **values: object) -> Said:
    """Title and text in the language, or in English where there is none. Values are put in as they are, on one line in the title."""
    words = TEXTS[what].get(language.partition("-")[0].lower()) or TEXTS[what]["en"]
    title = words.title.format(**{name: " ".join(str(value).split()) for name, value in values.items()})
    return Said(title[:250], words.text.format(**values))
