"""Money, from the log and the tables of billing: I15 it is conserved, I16 nobody is overcharged, I17 the books agree with the outside.

Billing keeps no ledger of double entries. What plays its part: a payment's stream says what of it went to which invoice, the
invoice's stream says what it took and gave back, and each pair of the two has to come to nothing. Amounts are minor units."""

from __future__ import annotations

from tests.chaos.laws import Law

VIEWS = """
create view chk.payment_entry as
select tenant, id as payment_id, a ->> 'invoice_id' as invoice_id, (a ->> 'amount')::bigint as amount, (a ->> 'worth')::bigint as worth,
       a ->> 'rate' as rate
from (select tenant, id, data -> 'allocation' as a from chk.event
      where aggregate = 'payment' and type in ('PaymentReceived', 'CreditAllocated', 'PrepaymentMoved')) allocated
where a ->> 'n' is not null
union all
select tenant, id, null, -(data -> 'allocation' ->> 'amount')::bigint, 0, null from chk.event
where aggregate = 'payment' and type = 'PrepaymentMoved'
union all
select tenant, id, data ->> 'invoice_id', -(data ->> 'amount')::bigint, -(data ->> 'worth')::bigint, null from chk.event
where aggregate = 'payment' and type = 'AllocationReleased';

create view chk.refund as
select tenant, id as payment_id, data ->> 'refund_id' as refund_id, (data ->> 'amount')::bigint as amount,
       (data ->> 'from_credit')::bigint as from_credit, data -> 'parts' as parts
from chk.event where aggregate = 'payment' and type = 'PaymentRefunded';

create view chk.payment as
select e.tenant, e.id, data ->> 'provider' as provider, data ->> 'document_id' as document_id,
       (data -> 'money' ->> 'minor')::bigint as amount, data -> 'money' ->> 'currency' as currency,
       coalesce((data -> 'allocation' ->> 'amount')::bigint, 0) as captured,
       (select coalesce(sum(a.amount), 0) from chk.payment_entry a where (a.tenant, a.payment_id) = (e.tenant, e.id)) as allocated,
       (select coalesce(sum(r.amount), 0) from chk.refund r where (r.tenant, r.payment_id) = (e.tenant, e.id)) as refunded,
       (select coalesce(sum(r.from_credit), 0) from chk.refund r where (r.tenant, r.payment_id) = (e.tenant, e.id)) as from_credit,
       exists (select 1 from chk.event r where r.aggregate = 'payment' and (r.tenant, r.id) = (e.tenant, e.id)
               and r.type = 'PaymentReversed') as reversed
from chk.event e where aggregate = 'payment' and type = 'PaymentReceived';

create view chk.invoice_entry as
select tenant, id as invoice_id, data -> 'taken' ->> 'payment_id' as payment_id, (data -> 'taken' ->> 'amount')::bigint as amount
from chk.event where aggregate = 'invoice' and type in ('InvoicePartiallyPaid', 'InvoicePaid') and data -> 'taken' ->> 'n' is not null
union all
select tenant, id, data ->> 'payment_id', -(data ->> 'amount')::bigint from chk.event
where aggregate = 'invoice'
  and type in ('RefundNoted', 'InvoiceRefunded', 'ReversalNoted', 'InvoiceReopened', 'AllocationTakenBack')
union all
select tenant, id, r ->> 'payment_id', -(r ->> 'amount')::bigint from chk.event cross join lateral json_array_elements(data -> 'released') r
where aggregate = 'invoice' and type in ('InvoiceCredited', 'InvoiceCancelled');

create view chk.clearing as
select e.tenant, e.payment_id, e.invoice_id, e.worth from chk.payment_entry e
join chk.payment p on (p.tenant, p.id) = (e.tenant, e.payment_id) where e.invoice_id is not null and not p.reversed
union all
select r.tenant, r.payment_id, part ->> 'invoice_id', -(part ->> 'worth')::bigint from chk.refund r
join chk.payment p on (p.tenant, p.id) = (r.tenant, r.payment_id) cross join lateral json_array_elements(r.parts) part
where part ->> 'invoice_id' is not null and not p.reversed
union all
select tenant, payment_id, invoice_id, -amount from chk.invoice_entry;

create view chk.invoice_line as
select i.tenant, i.id, i.inclusive, (l ->> 'tax_rate')::numeric as rate,
       round((l ->> 'quantity')::numeric * (l ->> 'unit_price')::numeric * (1 - (l ->> 'discount_percent')::numeric / 100)) as total
from (select distinct on (tenant, id) tenant, id, (data ->> 'prices_include_tax')::boolean as inclusive, data -> 'lines' as lines
      from chk.event where aggregate = 'invoice' and type in ('InvoiceCreated', 'InvoiceDraftChanged')
      order by tenant, id, version desc) i
cross join lateral json_array_elements(i.lines) l;

create view chk.invoice_sum as
select tenant, id, sum(case when inclusive then total - tax else total end) as net, sum(tax) as tax
from (select tenant, id, inclusive, sum(total) as total,
             round(case when inclusive then sum(total) * rate / (100 + rate) else sum(total) * rate / 100 end) as tax
      from chk.invoice_line group by tenant, id, inclusive, rate) by_rate
group by tenant, id;

create view chk.document as
select distinct on (tenant, payment_document_id) tenant, payment_document_id as id, currency, amount, captured, status
from public.payment_documents_v1 order by tenant, payment_document_id, version desc, n desc;

create view chk.charge as
select e.tenant, e.id as checkout_id, o.data ->> 'document_id' as document_id, e.data ->> 'status' as status, p ->> 0 as charge_id,
       (p -> 1 ->> 'minor')::bigint as amount, p -> 1 ->> 'currency' as currency
from chk.event e
join chk.event o on (o.tenant, o.id) = (e.tenant, e.id) and o.aggregate = 'checkout' and o.type = 'CheckoutOpened'
cross join lateral json_array_elements(e.data -> 'payments') p
where e.aggregate = 'checkout' and e.type = 'MoneyMoved';

create view chk.report as
select tenant, data -> 'reported' ->> 'event_id' as event_id, data -> 'reported' ->> 'kind' as kind,
       data -> 'reported' ->> 'payment' as charge_id, (data -> 'reported' -> 'money' ->> 'minor')::bigint as amount
from chk.event where aggregate = 'checkout' and type = 'WebhookOwed' and not (data ->> 'bad_signature')::boolean;
"""
"""`payment_entry`: what of a payment went to an invoice or a document, or came back from there (`invoice_id` null: a document).
`clearing`: both sides of it. `charge`, `report`: what the test provider has done and has told, by its own record."""

CONSERVED = (
    Law(
        "I15",
        "what left a payment arrived at its invoice",
        """select format('payment %s and invoice %s differ by %s', payment_id, invoice_id, sum(worth)) as what from chk.clearing
           group by tenant, payment_id, invoice_id having sum(worth) <> 0""",
    ),
    Law(
        "I15",
        "a payment is what was allocated of it and what was not",
        """select format('payment %s: %s allocated of %s, %s unapplied, %s credit, %s refunded', coalesce(p.id, v.id),
                         p.allocated, p.amount, v.unapplied, v.credit, v.refunded) as what
           from chk.payment p full join public.payments_v1 v on (v.tenant, v.id) = (p.tenant, p.id)
           where p.id is null or v.id is null or v.amount <> p.amount or v.currency <> p.currency or p.allocated not between 0 and p.amount
              or v.unapplied <> p.amount - p.allocated or v.refunded <> p.refunded or p.refunded > p.amount or v.credit < 0
              or v.credit <> case when p.reversed then 0 else p.amount - p.allocated - p.from_credit end""",
    ),
    Law(
        "I15",
        "a refund is what it took from credit and from allocations",
        """select format('refund %s of payment %s is over %s', refund_id, payment_id, amount) as what from chk.refund
           where amount <> from_credit + (select coalesce(sum((part ->> 'amount')::bigint), 0) from json_array_elements(parts) part)""",
    ),
    Law(
        "I15",
        "money changes its currency only at a rate agreed by hand",
        """select format('payment %s in %s: %s became %s of invoice %s in %s',
                         p.id, p.currency, e.amount, e.worth, i.id, i.currency) as what
           from chk.payment_entry e join chk.payment p on (p.tenant, p.id) = (e.tenant, e.payment_id)
           join public.invoices_v1 i on (i.tenant, i.id) = (e.tenant, e.invoice_id)
           where e.rate is null and e.amount > 0 and (i.currency <> p.currency or e.worth <> e.amount)""",
    ),
    Law(
        "I15",
        "an invoice is the sum of its lines and their tax",
        """select format('invoice %s: %s + %s = %s, its lines: %s + %s', coalesce(v.id, s.id), v.net, v.tax, v.total, s.net, s.tax) as what
           from public.invoices_v1 v full join chk.invoice_sum s on (s.tenant, s.id) = (v.tenant, v.id)
           where v.id is null or s.id is null or v.net <> s.net or v.tax <> s.tax or v.total <> s.net + s.tax""",
    ),
    Law(
        "I15",
        "an invoice is due over what it has not got, and paid exactly when that is nothing",
        """select format('invoice %s is %s: total %s, credited %s, held %s, due %s, kept %s', v.id, v.status, v.total, v.credited, v.held,
                         v.amount_due, k.kept) as what
           from public.invoices_v1 v
           cross join lateral (select coalesce(sum(e.amount), 0) as kept from chk.invoice_entry e
                               where (e.tenant, e.invoice_id) = (v.tenant, v.id)) k
           where k.kept < 0 or v.held < k.kept or v.held not between 0 and v.total - v.credited
              or v.amount_due <> case when v.status = 'cancelled' then 0 else v.total - v.credited - v.held end
              or (v.status = 'paid') <> (v.status <> 'cancelled' and v.held > 0 and v.held = v.total - v.credited)""",
    ),
    Law(
        "I15",
        "an invoice is credited by its credit notes and by nothing else",
        """select format('invoice %s is credited %s, by notes over %s', coalesce(v.id, n.id), v.credited, n.total) as what
           from public.invoices_v1 v
           full join (select tenant, invoice_id as id, sum(total) as total from public.credit_notes_v1 group by 1, 2) n
             on (n.tenant, n.id) = (v.tenant, v.id)
           where v.id is null or v.credited <> coalesce(n.total, 0)""",
    ),
    Law(
        "I15",
        "no amount is a floating-point number",
        """select format('%s.%s is %s', table_name, column_name, data_type) as what from information_schema.columns
           where table_schema = 'public' and data_type in ('real', 'double precision')""",
    ),
)

NEVER_OVERCHARGED = (
    Law(
        "I16",
        "a link captures what its payments brought it, and never more than its amount",
        """select format('document %s over %s captured %s, its payments: %s', d.id, d.amount, d.captured, c.captured) as what
           from chk.document d
           cross join lateral (select coalesce(sum(p.captured), 0) as captured from chk.payment p
                               where (p.tenant, p.document_id) = (d.tenant, d.id)) c
           where d.captured <> c.captured or d.captured > d.amount""",
    ),
    Law(
        "I16",
        "a link that is used up, expired or cancelled captures nothing",
        """select format('document %s was %s and captured %s', e.data ->> 'document_id', before.status, e.data ->> 'amount') as what
           from chk.event e
           cross join lateral (select status from public.payment_documents_v1 d
                               where d.tenant = e.tenant and d.payment_document_id = e.data ->> 'document_id' and d.version < e.version
                               order by d.version desc, d.n desc limit 1) before
           where e.aggregate = 'payment-documents' and e.type in ('DocumentPartiallyPaid', 'PaymentDocumentPaid')
             and (e.data ->> 'amount')::bigint > 0 and before.status in ('paid', 'expired', 'cancelled')""",
    ),
    Law(
        "I16",
        "what a provider took beyond a link's amount is the customer's credit or went back",
        """select format('on document %s over %s the provider took %s, of which %s went back and %s is credit',
                         d.id, d.amount, sum(c.amount), sum(v.refunded), sum(v.credit)) as what
           from chk.document d join chk.charge c on (c.tenant, c.document_id) = (d.tenant, d.id) and c.status = 'paid'
           left join public.payments_v1 v on v.tenant = c.tenant and v.provider = 'fake' and v.provider_payment_id = c.charge_id
           group by d.tenant, d.id, d.amount
           having sum(case when v.status = 'reversed' then 0
                           else c.amount - coalesce(v.refunded, 0) - coalesce(v.credit, 0) end) > d.amount""",
    ),
)

AGREES = (
    Law(
        "I17",
        "each charge of the provider is one payment, and each payment a charge",
        """select format('charge %s of %s %s on %s is payment %s of %s %s on %s', c.charge_id, c.amount, c.currency, c.document_id, v.id,
                         v.amount, v.currency, v.payment_document_id) as what
           from (select * from chk.charge where status = 'paid') c
           full join (select *, count(*) over (partition by tenant, provider_payment_id) as times from public.payments_v1
                      where provider = 'fake') v on v.tenant = c.tenant and v.provider_payment_id = c.charge_id
           where c.charge_id is null or v.id is null or v.times > 1 or v.amount <> c.amount or v.currency <> c.currency
              or v.payment_document_id is distinct from c.document_id""",
    ),
    Law(
        "I17",
        "what went back at the provider went back here, and the other way round",
        """select format('payment %s is %s and %s went back, at the provider: %s%s', v.id, v.status, v.refunded, back.amount,
                         case when back.charged_back then ', charged back' else '' end) as what
           from public.payments_v1 v
           cross join lateral (
               select coalesce((select sum(c.amount) from chk.charge c where c.tenant = v.tenant and c.charge_id = v.provider_payment_id
                                and c.status = 'refunded'), 0)
                    + coalesce((select sum((f.request ->> 'amount')::bigint) from public.effects f where f.tenant = v.tenant
                                and f.kind = 'provider_refund' and f.state = 'done' and f.request ->> 'payment_id' = v.id), 0) as amount,
                      exists (select 1 from chk.charge c where c.tenant = v.tenant and c.charge_id = v.provider_payment_id
                              and c.status = 'charged_back') as charged_back) back
           where v.provider = 'fake' and (v.refunded <> back.amount or (v.status = 'reversed') <> back.charged_back)""",
    ),
    Law(
        "I13",
        "each report that the provider signed is kept once, and none that it did not",
        """select format('report %s over %s is kept as %s over %s', r.event_id, r.amount, k.kind, k.amount) as what
           from (select distinct tenant, event_id, kind, charge_id, amount from chk.report) r
           full join (select tenant, event_id, kind, raw::json -> 'data' ->> 'payment_id' as charge_id,
                             replace(raw::json -> 'data' ->> 'amount', '.', '')::bigint as amount
                      from public.provider_events_v1 where provider = 'fake') k on (k.tenant, k.event_id) = (r.tenant, r.event_id)
           where r.event_id is null or k.event_id is null or (k.kind, k.charge_id, k.amount) <> (r.kind, r.charge_id, r.amount)""",
    ),
)

LAWS = (*CONSERVED, *NEVER_OVERCHARGED, *AGREES)
