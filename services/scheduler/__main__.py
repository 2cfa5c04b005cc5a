from services.scheduler.service import SERVICE
from shared.runtime.cli import run

run(SERVICE)
