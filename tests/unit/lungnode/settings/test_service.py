"""Settings are read once, refuse what is unsafe, and say so without showing values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lungnode.errors import SettingsError
from lungnode.settings.service import Settings, is_loopback
from lungnode.settings.table import load_settings
from lungnode.wiring.web import web_options


def test_defaults_are_loopback_and_need_no_environment() -> None:
    settings = load_settings()
    assert settings.dicom.host == settings.web.host == "127.0.0.1"
    assert settings.dicom.port == 11112
    assert settings.web.port == 8000
    assert settings.dicom.ae_title == "LUNGNODE"
    assert not settings.web_auth_required
    assert settings.database_url == f"sqlite:///{settings.home / 'lungnode.db'}"


def test_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "lungnode.toml"
    config.write_text('[dicom]\nport = 104\nae_title = "FROMFILE"\n')
    monkeypatch.setenv("LUNGNODE_CONFIG", str(config))
    monkeypatch.setenv("LUNGNODE_DICOM__PORT", "11119")
    settings = load_settings()
    assert (settings.dicom.port, settings.dicom.ae_title) == (11119, "FROMFILE")


def test_secrets_are_files_that_win_over_the_configuration_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config, secrets = tmp_path / "lungnode.toml", tmp_path / "secrets"
    config.write_text('[database]\nurl = "sqlite:///from-the-file.db"\n')
    secrets.mkdir()
    (secrets / "LUNGNODE_DATABASE__URL").write_text("postgresql+psycopg://lungnode@db/lungnode\n")
    monkeypatch.setenv("LUNGNODE_CONFIG", str(config))
    monkeypatch.setenv("LUNGNODE_SECRETS", str(secrets))
    assert load_settings().database_url == "postgresql+psycopg://lungnode@db/lungnode"
    monkeypatch.setenv("LUNGNODE_DATABASE__URL", "sqlite:///from-the-environment.db")
    assert load_settings().database_url == "sqlite:///from-the-environment.db"
    monkeypatch.setenv("LUNGNODE_SECRETS", str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match=r"LUNGNODE_SECRETS: .*/missing: folder not found"):
        load_settings()


def test_tls_has_variables_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CERTIFICATE", "KEY", "AUTHORITY"):
        monkeypatch.setenv(f"LUNGNODE_DICOM__TLS__{name}", f"/etc/lungnode/{name.lower()}.pem")
    tls = load_settings().dicom.tls
    assert (tls.certificate, tls.require_certificate) == (Path("/etc/lungnode/certificate.pem"), True)


def test_lists_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNGNODE_DICOM__DESTINATIONS", '[{"ae_title": "PACS", "host": "127.0.0.1", "port": 4242}]')
    (destination,) = load_settings().dicom.destinations
    assert (destination.ae_title, destination.port, destination.storage_commitment) == ("PACS", 4242, False)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LUNGNODE_DICOM__PORT": "70000"}, "LUNGNODE_DICOM__PORT: input should be less than or equal to 65535"),
        ({"LUNGNODE_DICOM__AE_TITLE": "MUCHTOOLONGFORANAETITLE"}, "LUNGNODE_DICOM__AE_TITLE: "),
        ({"LUNGNODE_DICOM__PEERS": '[{"host": "10.0.0.1"}]'}, "LUNGNODE_DICOM__PEERS__AE_TITLE[0]: field required"),
        ({"LUNGNODE_DICOM__PEERS": "[{"}, "LUNGNODE_DICOM__PEERS: not valid JSON"),
        ({"LUNGNODE_DICOM__QUIET_S": "0"}, "LUNGNODE_DICOM__QUIET_S: "),
        (
            {"LUNGNODE_DICOM__TLS__CERTIFICATE": "node.crt"},
            "LUNGNODE_DICOM__TLS: certificate, key and authority must be set together",
        ),
        (
            {"LUNGNODE_DICOM__PEERS": '[{"ae_title": "PACS", "tls": true}]'},
            "LUNGNODE_DICOM: a peer or destination with `tls` needs",
        ),
        (
            {"LUNGNODE_DICOM__PEERS": '[{"ae_title": "PACS", "certificate_names": ["CN:pacs"]}]'},
            "LUNGNODE_DICOM: certificates of peers need LUNGNODE_DICOM__TLS with require_certificate",
        ),
        (
            {"LUNGNODE_DICOM__PEERS": '[{"ae_title": "PACS", "certificate_names": ["pacs"]}]'},
            "LUNGNODE_DICOM__PEERS__CERTIFICATE_NAMES[0]: a name of a certificate begins with",
        ),
        (
            {"LUNGNODE_DICOM__PEERS": '[{"ae_title": "PACS", "certificate_sha256": ["AB:CD"]}]'},
            "LUNGNODE_DICOM__PEERS__CERTIFICATE_SHA256[0]: a SHA-256 fingerprint has 64 hexadecimal digits",
        ),
        ({"LUNGNODE_DICOM__HOST": "0.0.0.0"}, "LUNGNODE_DICOM__PEERS must list the senders"),
        ({"LUNGNODE_WEB__HOST": "0.0.0.0", "LUNGNODE_WEB__AUTH": "off"}, "LUNGNODE_WEB__AUTH=off is refused"),
        (
            {"LUNGNODE_WEB__PUBLIC_URL": "https://node.example.org", "LUNGNODE_WEB__AUTH": "off"},
            "LUNGNODE_WEB__AUTH=off is refused where LUNGNODE_WEB__PUBLIC_URL is set",
        ),
        ({"LUNGNODE_WEB__OIDC_ISSUER": "https://id.example.org"}, "LUNGNODE_WEB__OIDC_ISSUER needs "),
        ({"LUNGNODE_WEB__PUBLIC_URL": "https://node.example.org/path"}, "LUNGNODE_WEB__PUBLIC_URL: "),
        ({"LUNGNODE_MODEL__DEVICE": "tpu"}, "LUNGNODE_MODEL__DEVICE: "),
        (
            {"LUNGNODE_CONFIG": "/nowhere/lungnode.toml"},
            "LUNGNODE_CONFIG: /nowhere/lungnode.toml: the file cannot be read",
        ),
    ],
)
def test_what_is_wrong_is_named(variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert any(problem.startswith(expected) for problem in caught.value.problems), caught.value.problems


def test_behind_a_proxy_sign_in_is_on_and_https_is_insisted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNGNODE_WEB__PUBLIC_URL", "https://node.example.org")
    settings = load_settings()
    assert settings.web_auth_required
    options = web_options(settings)
    assert (options.secure_cookies, options.allowed_hosts) == (True, ("node.example.org",))


def test_problems_never_show_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "lungnode.toml"
    config.write_text('[database]\nurl = ["hunter2"]\n[web]\nport = "hunter2"\nauth = "hunter2"\n')
    monkeypatch.setenv("LUNGNODE_CONFIG", str(config))
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_broken_file_is_named_by_its_place_not_its_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "lungnode.toml"
    config.write_text("[database]\nurl = hunter2\n")
    monkeypatch.setenv("LUNGNODE_CONFIG", str(config))
    with pytest.raises(SettingsError, match="not valid TOML") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


def test_a_database_password_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNGNODE_DATABASE__URL", "postgresql+psycopg://lungnode:hunter2@127.0.0.1/lungnode")
    settings = Settings()
    assert "hunter2" not in repr(settings)
    assert "hunter2" in settings.database_url


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("pacs", False)],
)
def test_only_loopback_counts_as_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("variable", "value", "meant"),
    [
        ("LUNGNODE_DICM__PORT", "104", "`LUNGNODE_DICOM__PORT`"),
        ("LUNGNODE_DICOM__PROT", "104", "`LUNGNODE_DICOM__PORT`"),
        ("LUNGNODE_DICOM_PORT", "104", "`LUNGNODE_DICOM__PORT`"),
        ("LUNGNODE_DICOM__TLS_KEY", "node.key", "`LUNGNODE_DICOM__TLS__KEY`"),
        ("LUNGNODE_DICOM__TSL__KEY", "node.key", "`LUNGNODE_DICOM__TLS__KEY`"),
        ("LUNGNODE__DICOM__PORT", "104", "`LUNGNODE_DICOM__PORT`"),
        ("LUNGNDOE_DICOM__PORT", "104", "`LUNGNODE_DICOM__PORT`"),
        ("lungnode_dicm__port", "104", "`LUNGNODE_DICOM__PORT`"),
        ("LUNGNODE_PORT", "104", "`LUNGNODE_DICOM__PORT` or `LUNGNODE_WEB__PORT`"),
        ("LUNGNODE_DATABASE_URL", "sqlite:///x", "`LUNGNODE_DATABASE__URL`"),
        ("LUNGNODE_WEB__BUNDLE", "/models", "`LUNGNODE_MODEL__BUNDLE`"),
        ("LUNGNODE_HOMEDIR", "/var", "`LUNGNODE_HOME`"),
        ("LUNGNODE_HOME__PATH", "/var", "`LUNGNODE_HOME`"),
        ("LUNGNODE_SECRET", "/run/secrets", "`LUNGNODE_SECRETS`"),
        ("LUNGNODE_CONFIGS", "/etc/lungnode.toml", "`LUNGNODE_CONFIG`"),
        ("LUNGNODE_DICOM__PEERS__0__PORT", "104", "`LUNGNODE_DICOM__PEERS`"),
        ("LUNGNODE_RETENTION__DAY", "365", "`LUNGNODE_RETENTION__DAYS`"),
        ("LUNGNODE_DICOM", '{"prot": 104}', "`port`"),
        ("LUNGNODE_DICOM", '{"tls": {"certifcate": "a"}}', "`certificate`"),
        ("LUNGNODE_DICOM__PEERS", '[{"ae_title": "A"}, {"ae_titel": "PACS"}]', "`ae_title`"),
        ("LUNGNODE_DICOM__DESTINATIONS", '[{"ae_title": "A", "hots": "pacs", "port": 104}]', "`host`"),
    ],
)
def test_a_misspelt_variable_is_refused(
    variable: str, value: str, meant: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    (problem,) = caught.value.problems
    assert problem.startswith(f"{variable}: unknown ")
    assert problem.endswith(f"; did you mean {meant}?")
    monkeypatch.delenv(variable)
    (tmp_path / variable).write_text(value)
    monkeypatch.setenv("LUNGNODE_SECRETS", str(tmp_path))
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.problems == (f"{tmp_path}/{problem}",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[dicmo]\nport = 104\n", "unknown section `[dicmo]`; did you mean `[dicom]`?"),
        ("[DICOM]\nport = 104\n", "unknown section `[DICOM]`; did you mean `[dicom]`?"),
        ("[lungnode.dicom]\nport = 104\n", "unknown section `[lungnode]`; see docs/settings.md"),
        ("port = 104\n", "unknown setting `port`; did you mean `dicom.port` or `web.port`?"),
        ("[dicom]\nprot = 104\n", "unknown setting `dicom.prot`; did you mean `port`?"),
        ("[dicom.tsl]\nkey = 'a'\n", "unknown setting `dicom.tsl`; did you mean `tls`?"),
        ("[dicom.tls]\nkay = 'a'\n", "unknown setting `dicom.tls.kay`; did you mean `key`?"),
        ("[[dicom.peer]]\nae_title = 'A'\n", "unknown setting `dicom.peer`; did you mean `peers`?"),
        (
            "[[dicom.peers]]\nae_title = 'A'\n[[dicom.peers]]\nae_title = 'B'\nmay_stroe = false\n",
            "unknown setting `dicom.peers[2].may_stroe`; did you mean `may_store`?",
        ),
        (
            "[dicom]\ndestinations = [{ae_title = 'A', hots = 'pacs', port = 104}]\n",
            "unknown setting `dicom.destinations[1].hots`; did you mean `host`?",
        ),
    ],
)
def test_a_misspelt_name_in_the_file_is_refused(
    text: str, problem: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "lungnode.toml"
    config.write_text(text)
    monkeypatch.setenv("LUNGNODE_CONFIG", str(config))
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.problems == (f"{config}: {problem}",)


def test_a_secret_without_the_prefix_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "DATABASE__URL").write_text("postgresql://db/lungnode")
    monkeypatch.setenv("LUNGNODE_SECRETS", str(tmp_path))
    with pytest.raises(SettingsError, match=r"DATABASE__URL: .* did you mean `LUNGNODE_DATABASE__URL`\?"):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LUNGNODE_TAG", "cpu"),
        ("LUNGNODE_TEST_DATA", "/data"),
        ("LUNGNODE_WEB_SERVICE_HOST", "10.0.0.1"),
        ("LUNGNODE_SERVICE_PORT_HTTP", "8000"),
        ("LUNGNODE_PORT", "tcp://10.0.0.1:8000"),
        ("LUNGNODE_DICOM_PORT", "tcp://10.0.0.1:104"),
        ("LUNGNODE_DICOM_PORT_104_TCP_ADDR", "10.0.0.1"),
        ("LUNGNODE_WEB__OIDC_ROLES", '{"radiology": "radiologist"}'),
        ("lungnode_dicom__port", "104"),
    ],
)
def test_variables_that_are_no_misspelling_are_left_alone(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(variable, value)
    for foreign in ("audit.key", "tls.crt", "home", "database", "database_url"):
        (tmp_path / foreign).write_text("x")
    monkeypatch.setenv("LUNGNODE_SECRETS", str(tmp_path))
    load_settings()


@pytest.mark.parametrize(
    ("template", "is_taken"),
    [
        ("", True),
        ("{number}: nodule[, {density}][, {side}], {mean} mm", True),
        ("Nr. {number}\n{comment}", True),
        ("{lobe}", False),
        ("{number", False),
        ("[{side}", False),
        ("[{side} [{third}]]", False),
        ("x" * 501, False),
    ],
)
def test_a_report_template_names_what_there_is(monkeypatch: pytest.MonkeyPatch, template: str, is_taken: bool) -> None:
    monkeypatch.setenv("LUNGNODE_WEB__REPORT_TEMPLATE", template)
    if is_taken:
        assert web_options(load_settings()).report_template == template
        return
    with pytest.raises(SettingsError, match="LUNGNODE_WEB__REPORT_TEMPLATE"):
        load_settings()


def test_templates_and_the_page_know_the_same_names(monkeypatch: pytest.MonkeyPatch) -> None:
    source = (Path(__file__).parents[4] / "frontend" / "src" / "report" / "template.ts").read_text()
    (listed,) = re.findall(r"PLACEHOLDERS = \[(.*?)\] as const", source, re.DOTALL)
    names = re.findall(r'"(\w+)"', listed)
    assert len(names) == 11
    monkeypatch.setenv("LUNGNODE_WEB__REPORT_TEMPLATE", "".join(f"[{{{name}}}]" for name in names))
    assert load_settings().web.report_template
