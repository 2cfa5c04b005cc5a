from services.deals.service import SERVICE
from shared.runtime.cli import run

run(SERVICE)
