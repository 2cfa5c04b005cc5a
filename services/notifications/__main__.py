from services.notifications.service import SERVICE
from shared.runtime.cli import run

run(SERVICE)
