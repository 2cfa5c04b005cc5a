"""One handler per aggregate: what it says and the views it keeps. Deals asks for no effects outside its database."""

from __future__ import annotations

from typing import Any

from services.deals import publications, views
from services.deals.domain.company import COMPANY
from services.deals.domain.contact import CONTACT
from services.deals.domain.credential import CREDENTIAL
from services.deals.domain.deal import DEAL
from services.deals.domain.details import DETAILS
from services.deals.domain.employee import EMPLOYEE
from services.deals.domain.field_set import FIELD_SET
from services.deals.domain.file import FILE
from services.deals.domain.lead import LEAD
from services.deals.domain.pipeline import PIPELINE
from services.deals.domain.tenant import TENANT
from shared.messaging.handler import Handler

HANDLERS: tuple[Handler[Any, Any, Any], ...] = (
    Handler(PIPELINE, publications.of_pipeline, (views.PIPELINE_ROWS,)),
    Handler(DEAL, publications.of_deal, (views.DEAL_ROWS, views.DEAL_ARRIVALS, views.DEAL_LINES)),
    Handler(LEAD, publications.of_lead, (views.LEAD_ROWS, views.LEAD_ARRIVALS, views.LEAD_LINES)),
    Handler(CONTACT, publications.of_contact, (views.CONTACT_ROWS,)),
    Handler(COMPANY, publications.of_company, (views.COMPANY_ROWS,)),
    Handler(DETAILS, publications.of_details, (views.DETAILS_ROWS,)),
    Handler(FIELD_SET, publications.of_field_set, (views.FIELD_SET_ROWS,)),
    Handler(EMPLOYEE, publications.of_employee, (views.EMPLOYEE_ROWS,)),
    Handler(FILE, publications.of_file, (views.FILE_ROWS, views.FILE_LINES)),
    Handler(TENANT, publications.of_tenant, (views.TENANT_ROWS,)),
    Handler(CREDENTIAL, publications.of_credential, (views.CREDENTIAL_ROWS,)),
)
