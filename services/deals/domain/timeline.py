"""How a line of the timeline reads, in German and English. (S19, S39, S40)

A line is stored as what happened and its facts; the words are chosen when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KINDS = (
    "created",
    "stage",
    "fields",
    "copied",
    "converted",
    "deleted",
    "restored",
    "invoice",
    "payment",
    "quote",
    "sign",
    "link",
    "activity",
    "run",
    "decision",
    "message",
    "file",
)

WORDS: Mapping[str, tuple[str, str]] = {
    "created": ("Angelegt in {stage}", "Created in {stage}"),
    "created_as_copy": ("Als Kopie angelegt in {stage}", "Created as a copy in {stage}"),
    "moved": ("Stufe: {before} -> {stage}", "Stage: {before} -> {stage}"),
    "fields_changed": ("Felder geändert: {fields}", "Fields changed: {fields}"),
    "copied": ("Kopiert als {name}", "Copied as {name}"),
    "converted": ("Umgewandelt", "Converted"),
    "deleted": ("Gelöscht", "Deleted"),
    "restored": ("Wiederhergestellt", "Restored"),
    "file_attached": ("Datei {name} angehängt", "File {name} attached"),
    "file_removed": ("Datei {name} entfernt", "File {name} removed"),
    "quote_created": ("Angebot {number} angelegt, {total}", "Quote {number} created, {total}"),
    "quote_sent": ("Angebot {number} verschickt", "Quote {number} sent"),
    "quote_accepted": ("Angebot {number} angenommen", "Quote {number} accepted"),
    "quote_declined": ("Angebot {number} abgelehnt: {reason}", "Quote {number} declined: {reason}"),
    "quote_expired": ("Angebot {number} abgelaufen", "Quote {number} expired"),
    "quote_cancelled": ("Angebot {number} storniert", "Quote {number} cancelled"),
    "invoice_created": ("Rechnung angelegt, {total}", "Invoice created, {total}"),
    "invoice_issued": ("Rechnung {number} ausgestellt, {total}", "Invoice {number} issued, {total}"),
    "invoice_linked": ("Rechnung verknüpft: {status}, {total}", "Invoice linked: {status}, {total}"),
    "invoice_partially_paid": ("Rechnung {number} teilweise bezahlt, offen {amount_due}", "Invoice {number} partly paid, {amount_due} due"),
    "invoice_paid": ("Rechnung {number} bezahlt, {total}", "Invoice {number} paid, {total}"),
    "invoice_reopened": ("Rechnung wieder offen, {amount_due}", "Invoice open again, {amount_due} due"),
    "invoice_refunded": ("Rechnung erstattet, {refunded}", "Invoice refunded, {refunded}"),
    "invoice_cancelled": ("Rechnung storniert", "Invoice cancelled"),
    "credit_note_issued": ("Gutschrift {number}, {total}", "Credit note {number}, {total}"),
    "link_created": ("Zahlungslink über {amount}", "Payment link for {amount}"),
    "link_expired": ("Zahlungslink abgelaufen", "Payment link expired"),
    "document_paid": ("Zahlungsdokument bezahlt", "Payment document paid"),
    "document_cancelled": ("Zahlungsdokument storniert", "Payment document cancelled"),
    "payment_received": ("Zahlung eingegangen, {amount}", "Payment received, {amount}"),
    "payment_unallocated": ("Zahlung ohne Zuordnung, {amount}", "Payment not allocated, {amount}"),
    "overpayment": ("Überzahlung, {amount}", "Overpayment, {amount}"),
    "payment_refunded": ("Zahlung erstattet, {amount}", "Payment refunded, {amount}"),
    "refund_unanswered": ("Erstattung ungewiss, {amount}: {detail}", "Refund in doubt, {amount}: {detail}"),
    "payment_reversed": ("Zahlung zurückgebucht, {amount}", "Payment reversed, {amount}"),
    "sign_created": ("Dokument {title} zur Unterschrift angelegt", "Document {title} made for signature"),
    "sign_sent": ("Dokument {title} verschickt", "Document {title} sent"),
    "sign_signed": ("Dokument {title} unterschrieben", "Document {title} signed"),
    "sign_declined": ("{signer} lehnt die Unterschrift unter {title} ab: {reason}", "{signer} declines to sign {title}: {reason}"),
    "sign_expired": ("Dokument {title} abgelaufen", "Document {title} expired"),
    "sign_cancelled": ("Dokument {title} storniert", "Document {title} cancelled"),
    "activity_planned": ("Aktivität {name} geplant, {local}", "Activity {name} planned, {local}"),
    "activity_rescheduled": ("Aktivität {name} verlegt auf {local}", "Activity {name} moved to {local}"),
    "activity_reassigned": ("Aktivität {name} übergeben", "Activity {name} handed over"),
    "activity_completed": ("Aktivität abgeschlossen", "Activity completed"),
    "activity_cancelled": ("Aktivität abgesagt: {reason}", "Activity cancelled: {reason}"),
    "run_scheduled": ("Regel {rule} wartet auf {waiting_for}", "Rule {rule} waits for {waiting_for}"),
    "run_completed": ("Regel {rule}: {outcome}", "Rule {rule}: {outcome}"),
    "run_skipped": ("Regel {rule} übersprungen: {reason}", "Rule {rule} skipped: {reason}"),
    "run_cancelled": ("Regel {rule} abgebrochen: {reason}", "Rule {rule} cancelled: {reason}"),
    "run_blocked": ("Regel {rule} angehalten: {reason}", "Rule {rule} blocked: {reason}"),
    "run_missed": ("Regel {rule} verpasst", "Rule {rule} missed"),
    "run_undone": ("Regel {rule} rückgängig gemacht", "Rule {rule} undone"),
    "trigger_decided": ("Trigger: {outcome}", "Trigger: {outcome}"),
    "notice_delivered": ("Nachricht zugestellt ({channel})", "Message delivered ({channel})"),
    "notice_failed": ("Nachricht nicht zugestellt ({channel}): {code}", "Message not delivered ({channel}): {code}"),
}

SAYS_BY = ("created", "created_as_copy", "moved", "fields_changed", "copied", "converted", "deleted", "trigger_decided")
"""Lines whose title names the rule or trigger behind them; those of runs have it in their facts."""


class _Blank(dict[str, str]):
    """A fact that is not known reads as nothing."""

    def __missing__(self, key: str) -> str:
        return ""


def title(what: str, facts: Mapping[str, Any], language: str, by: str | None = None) -> str:
    """One sentence; a reason that nobody gave leaves no colon behind. What nobody has words for is named as it is.

    `by`: the rule or trigger whose doing it was (S35)."""
    german, english = WORDS.get(what, (what, what))
    sentence = german if language == "de" else english
    told = " ".join(sentence.format_map(_Blank({name: _told(fact) for name, fact in facts.items()})).split()).removesuffix(":")
    return told if by is None or what not in SAYS_BY else f"{told} ({by})"


def _told(fact: Any) -> str:
    match fact:
        case None:
            return ""
        case {"amount": amount, "currency": currency}:
            return f"{amount} {currency}"
        case list():
            return ", ".join(map(str, fact))
        case _:
            return str(fact)
