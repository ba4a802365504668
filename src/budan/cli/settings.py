"""Settings: flag, then environment variable, then file, then default; each value knows where it comes from."""

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from budan.core.errors import Refused
from budan.core.numbers import Environment
from budan.host.folders import default_folder

FILE_VARIABLE: Final = "BUDAN_CONFIG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: its default, what it is for, and whether `config show` must hide it."""

    name: str
    default: str
    purpose: str
    secret: bool = False


SETTINGS: Final = (
    Setting(
        name="environment", default="local", purpose="local, test or live; in every number, and fixed in the database"
    ),
    Setting(name="folder", default="", purpose="where secrets and the embedded database are kept"),
    Setting(
        name="database",
        default="",
        purpose="DSN of PostgreSQL 15 or newer; empty: the embedded server that `up` starts in the folder",
        secret=True,
    ),
    Setting(name="listen", default="127.0.0.1:8080", purpose="where `serve` listens, host:port"),
    Setting(
        name="trusted_proxies",
        default="",
        purpose="addresses or networks before `serve` whose X-Forwarded-For is believed, by commas; empty: nobody's",
    ),
    Setting(
        name="public_url", default="", purpose="where channels and payers reach `serve`; empty: the listen address"
    ),
    Setting(name="secret_keys", default="", purpose="id=base64 keys that seal secrets, first one seals", secret=True),
    Setting(name="cashier_key", default="", purpose="base64 key of cashier addresses", secret=True),
    Setting(name="webhook_allow", default="", purpose="host:port list of private webhook addresses, local only"),
    Setting(
        name="sandbox_url",
        default="",
        purpose="the sandbox's address: `up` starts it there, `channel add --sandbox` opens accounts there, "
        "cashier pages link to its wallet",
    ),
    Setting(name="metrics_listen", default="", purpose="where `worker` answers /metrics, host:port; empty: nowhere"),
    Setting(
        name="smtp_url",
        default="",
        purpose="mail server of the nightly report, smtp:// or smtps://user:password@host:port",
        secret=True,
    ),
    Setting(name="mail_from", default="", purpose="who writes the report"),
    Setting(name="mail_to", default="", purpose="who reads the report, comma between addresses"),
    Setting(name="log_style", default="console", purpose="console or json"),
    Setting(name="log_level", default="info", purpose="debug, info, warning or error"),
)

# What a command needs to reach the database.
STORE_SETTINGS: Final = ("environment", "folder", "database")

# What every long-running process of ours goes by.
PROCESS_SETTINGS: Final = (
    "environment",
    "folder",
    "database",
    "public_url",
    "webhook_allow",
    "log_style",
    "log_level",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A setting's value and its source: `flag`, `env` with the variable's name, `file` or `default`."""

    setting: Setting
    text: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of this process."""

    values: Mapping[str, Value] = field(repr=False)

    def text(self, name: str) -> str:
        """The value of a setting."""
        return self.values[name].text

    @property
    def environment(self) -> Environment:
        """The environment; raises `Refused` with `setting_malformed`."""
        try:
            return Environment(self.text("environment"))
        except ValueError as error:
            raise Refused("setting_malformed", param="environment", detail="local, test or live") from error

    @property
    def folder(self) -> Path:
        """The folder of this instance."""
        text = self.text("folder")
        return Path(text) if text else default_folder(environment=self.environment.value)

    @property
    def listen(self) -> tuple[str, int]:
        """Where `serve` listens; raises `Refused` with `setting_malformed`."""
        return self._address("listen")

    @property
    def metrics_listen(self) -> tuple[str, int] | None:
        """Where `worker` answers /metrics, if anywhere; raises `Refused` with `setting_malformed`."""
        return self._address("metrics_listen") if self.text("metrics_listen") else None

    @property
    def trusted_proxies(self) -> tuple[str, ...]:
        """Who before `serve` may say whence a request comes; raises `Refused` with `setting_malformed`."""
        named = tuple(part.strip() for part in self.text("trusted_proxies").split(",") if part.strip())
        try:
            return tuple(str(ipaddress.ip_network(one)) for one in named)
        except ValueError as error:
            raise Refused("setting_malformed", param="trusted_proxies", detail=str(error)) from error

    def _address(self, name: str) -> tuple[str, int]:
        host, colon, port = self.text(name).rpartition(":")
        if not colon or not port.isdigit() or not 0 < int(port) < 1 << 16:
            raise Refused("setting_malformed", param=name, detail="host:port")
        return host.strip("[]"), int(port)

    @property
    def public_url(self) -> str:
        """Where channels and payers reach us, without a slash at the end."""
        return (self.text("public_url") or f"http://{self.text('listen')}").rstrip("/")

    @property
    def webhook_allow(self) -> frozenset[str]:
        """Private addresses that webhooks may go to; only in the local environment."""
        allowed = frozenset(part.strip() for part in self.text("webhook_allow").split(",") if part.strip())
        if allowed and self.environment is not Environment.LOCAL:
            raise Refused("setting_malformed", param="webhook_allow", detail="only in the local environment")
        return allowed


def load_settings(flags: Mapping[str, str | None], *, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from flags, then BUDAN_… variables, then the file that BUDAN_CONFIG names, then defaults.

    Raises `Refused` with `setting_unknown` for a name in the file that is none, `config_unreadable` for a broken file.
    """
    environ = os.environ if environ is None else environ
    from_file = _read_file(environ.get(FILE_VARIABLE))
    values: dict[str, Value] = {}
    for setting in SETTINGS:
        variable = f"BUDAN_{setting.name.upper()}"
        flag = flags.get(setting.name)
        if flag is not None:
            values[setting.name] = Value(setting=setting, text=flag, source="flag")
        elif variable in environ:
            values[setting.name] = Value(setting=setting, text=environ[variable], source=f"env {variable}")
        elif setting.name in from_file:
            values[setting.name] = Value(setting=setting, text=from_file[setting.name], source="file")
        else:
            values[setting.name] = Value(setting=setting, text=setting.default, source="default")
    return Settings(values=values)


def _read_file(path: str | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Refused("config_unreadable", param=FILE_VARIABLE, detail=str(error)) from error
    known = {setting.name for setting in SETTINGS}
    for name in content:
        if name not in known:
            raise Refused("setting_unknown", param=name, detail=f"in {path}")
    return {name: str(value) for name, value in content.items()}
