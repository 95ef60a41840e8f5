"""Settings of the server: where they come from, which counts first, what is refused."""

import socket
from dataclasses import fields

import pytest

from viska.cli.main import main
from viska.cli.serve import serve_parser
from viska.errors import OptionError
from viska.server.run import bound
from viska.server.settings import ALIASES, Settings, settings_from


def test_by_default_it_listens_to_this_machine_alone_with_the_model_base():
    settings = settings_from({}, {})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.model) == ("127.0.0.1", 8000, ("base",))
    assert settings.is_local()
    assert not settings.log_content


def test_a_flag_counts_before_the_environment_and_that_before_the_file(tmp_path):
    file = tmp_path / "viska.toml"
    file.write_text('port = 1\nworkers = 3\nmax_queue = 4\nmodel = ["tiny.en", "base"]\nlog_content = true\n')
    environment = {"VISKA_CONFIG": str(file), "VISKA_PORT": "2", "VISKA_WORKERS": "5", "VISKA_CACHE": "/elsewhere"}
    settings = settings_from({"port": "6", "workers": None}, environment)
    assert (settings.port, settings.workers, settings.max_queue) == (6, 5, 4)
    assert settings.model == ("tiny.en", "base")
    assert settings.log_content
    assert settings_from({"config": str(file)}, {}).port == 1


def test_empty_variables_count_as_not_set():
    assert settings_from({}, {"VISKA_PORT": "", "VISKA_API_KEY": ""}) == Settings()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_listening_to_others_needs_a_key(host):
    with pytest.raises(OptionError, match="there is no key: set VISKA_API_KEY"):
        settings_from({"host": host}, {})
    settings = settings_from({"host": host}, {"VISKA_API_KEY": "one,two"})
    assert settings.keys() == {"one", "two"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.0.1"])
def test_listening_to_this_machine_needs_none(host):
    assert settings_from({"host": host}, {}).keys() == frozenset()


def test_keys_come_from_a_file_too(tmp_path):
    file = tmp_path / "keys"
    file.write_text("first\n\n second \n")
    settings = settings_from({"host": "0.0.0.0", "api_key_file": str(file)}, {"VISKA_API_KEY": "third"})
    assert settings.keys() == {"first", "second", "third"}
    file.write_text("\n")
    with pytest.raises(OptionError, match="holds no key"):
        Settings(api_key_file=str(file))
    with pytest.raises(OptionError, match="cannot be read"):
        Settings(api_key_file=str(tmp_path / "none"))


def test_hosted_names_mean_the_default_model_unless_they_are_said_to_mean_another():
    settings = settings_from({"model": "tiny.en,base", "alias": "whisper-1=base,mine=tiny.en"}, {})
    names = settings.aliases()
    assert set(names) >= ALIASES
    assert names["gpt-4o-transcribe"] == "tiny.en"
    assert (names["whisper-1"], names["mine"]) == ("base", "tiny.en")
    for wrong in ("mine", "mine=", "=base", "mine=large"):
        with pytest.raises(OptionError, match="accepted is name=model"):
            Settings(alias=(wrong,))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("port", "http", "port is 'http' in --port; accepted is a whole number"),
        ("port", "70000", "accepted are 0 to 65535"),
        ("port", "1.5", "whole number"),
        ("workers", "0", "1 or more"),
        ("workers", "-1", "1 or more"),
        ("max_upload", "nan", "a number, 0 or more"),
        ("max_upload", "inf", "a number, 0 or more"),
        ("log_content", "perhaps", "true or false"),
        ("log_format", "xml", "json and text"),
        ("model", ",", "names no model"),
        ("tls_key", "key.pem", "give tls_cert too"),
        ("tls_cert", "none.pem", r"tls_cert 'none.pem' cannot be used .*No such file"),
        ("cors_origin", "https://a.org,foo", "cors_origin is 'foo'; accepted are"),
        ("cors_origin", "https://a.org/", "accepted are"),
    ],
)
def test_what_is_not_accepted_is_named(name, value, message):
    with pytest.raises(OptionError, match=message):
        settings_from({name: value}, {})


def test_the_source_of_a_mistake_is_named(tmp_path):
    with pytest.raises(OptionError, match="port is 'x' in VISKA_PORT"):
        settings_from({}, {"VISKA_PORT": "x"})
    file = tmp_path / "viska.toml"
    file.write_text("port = true")
    with pytest.raises(OptionError, match=f"port is True in {file}"):
        settings_from({"config": str(file)}, {})
    file.write_text("prot = 1")
    with pytest.raises(OptionError, match="sets prot; accepted are alias, api_key"):
        settings_from({"config": str(file)}, {})
    file.write_text("port = ")
    with pytest.raises(OptionError, match="cannot be read"):
        settings_from({"config": str(file)}, {})
    with pytest.raises(OptionError, match="cannot be read"):
        settings_from({"config": str(tmp_path / "none.toml")}, {})


def test_every_setting_is_a_flag_with_a_help_text():
    text = serve_parser().format_help()
    for setting in fields(Settings):
        assert f"--{setting.name}" in text
        assert setting.metadata["help"].split()[0] in text
    assert vars(serve_parser().parse_args(["--port", "1"]))["port"] == "1"


def test_the_command_line_tells_what_is_wrong_and_takes_hyphens(capsys):
    assert main(["serve", "--host", "0.0.0.0"]) == 2
    assert "there is no key" in capsys.readouterr().err
    assert main(["serve", "--max-queue", "many"]) == 2
    assert "max_queue is 'many' in --max_queue" in capsys.readouterr().err


@pytest.fixture
def without_logs(monkeypatch):
    monkeypatch.setattr("viska.server.run.set_up_logs", lambda settings: None)


@pytest.mark.usefixtures("without_logs")
def test_the_command_line_tells_of_a_model_that_is_not_there(capsys):
    assert main(["serve", "--model", "no-such-model", "--port", "0"]) == 4
    assert "no-such-model" in capsys.readouterr().err


@pytest.mark.usefixtures("without_logs")
def test_a_name_that_can_be_no_model_is_told_though_it_is_not_the_first(capsys):
    assert main(["serve", "--model", "tiny.en,no-such-model", "--port", "0"]) == 4
    assert "there is no model or path 'no-such-model'" in capsys.readouterr().err


@pytest.mark.usefixtures("without_logs")
def test_an_address_that_cannot_be_had_is_told_before_a_model_is_loaded(capsys, monkeypatch):
    monkeypatch.setattr("viska.server.run.load_model", lambda *_, **__: pytest.fail("loaded"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--model", "tiny.en", "--port", str(port)]) == 2
    told = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1, port {port} (Address already in use); give another" in told
    assert main(["serve", "--model", "tiny.en", "--host", "no host", "--api_key", "x"]) == 2
    assert "cannot listen on no host, port 8000" in capsys.readouterr().err


def test_an_address_of_each_kind_of_network_is_taken():
    with bound("localhost", 0) as sockets:
        assert {one.getsockname()[0] for one in sockets} <= {"127.0.0.1", "::1"}
        assert all(one.getsockname()[1] for one in sockets)
    assert [one.fileno() for one in sockets] == [-1] * len(sockets)
