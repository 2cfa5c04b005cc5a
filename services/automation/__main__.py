from services.automation.service import SERVICE
from shared.runtime.cli import run

run(SERVICE)
