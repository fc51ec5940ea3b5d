//! Whole command lines against a server that records.

mod checks;
mod manual;
mod story;
mod transfer;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::console::Console;
use super::server::{Reply, Server};

/// What a command line wrote, and its exit code.
pub(crate) struct Ran {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) async fn canaryctl(address: &str, line: &[&str]) -> Ran {
    let words = ["canaryctl", "--agent", address].iter().chain(line).map(OsString::from).collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = super::run(words, &mut Console::new(&mut out, &mut err)).await;
    Ran { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

fn ready(services: &str) -> String {
    format!(
        r#"{{"ready":true,"revision":3,"version":"0.1.0","layout":1,"new":7,
        "source":{{"kind":"files","ok":true,"stale_seconds":0}},
        "interfaces":[],"services":[{services}],"reasons":{{}},"warnings":[]}}"#
    )
}

const PAYMENTS: &str = r#"{"service":"payments","frontends":[],"origin":{},"splits":[{"service":"payments",
    "subset":"blue","weight":100.0,"backends":{"total":1,"healthy":1,"draining":0},
    "connections":{"opened":0,"established":0,"refused":0,"timed_out":0,"unanswered":0,"reset_by_server":0,
    "reset_by_client":0,"closed":0,"active":0},"bytes":{"to_backend":0,"to_client":0},
    "connect_us":null,"response_us":null,"http":null}]}"#;

const CHANGED: &str = r#"{"service":"payments","weights":[{"subset":"blue","before":50.0,"after":100.0},
    {"subset":"green","before":50.0,"after":0.0}],"revision_before":12,"revision":13,
    "warnings":[{"service":"payments","text":"green keeps 3 connections"}]}"#;

fn splitter(directory: &Path) -> String {
    let path = directory.join("splitter.hcl");
    let text = "kind = \"service-splitter\",\nname = \"payments\"\nsplits = [\n  \
                { weight = 90, service_subset = \"blue\" },\n  { weight = 10, service_subset = \"green\" }\n]\n";
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_written_entry_is_put_as_json_and_named() {
    let files = tempfile::tempdir().unwrap();
    let file = splitter(files.path());
    let server = Server::start([
        Reply::new(200, "true").warning("no instance is registered as \"payments\"")
    ]);

    let ran = canaryctl(&server.address(), &["config", "write", &file]).await;

    assert_eq!(ran.out, "Config entry written: service-splitter/payments\n");
    assert_eq!(ran.err, "WARNING: no instance is registered as \"payments\"\n");
    assert_eq!(ran.code, 0);
    let asked = server.asked();
    assert_eq!(asked[1].line, "PUT /v1/config");
    let sent: serde_json::Value = serde_json::from_str(&asked[1].body).unwrap();
    assert_eq!(sent["Kind"], "service-splitter");
    assert_eq!(sent["Splits"][1]["Weight"].as_f64(), Some(10.0));
    assert_eq!(sent["Splits"][1]["ServiceSubset"], "green");
}

#[tokio::test]
async fn what_only_the_agent_can_refuse_is_placed_in_the_file() {
    let files = tempfile::tempdir().unwrap();
    let file = splitter(files.path());
    let circle = "detected circular reference: [splitter:payments.default.default -> \
                  splitter:web.default.default -> splitter:payments.default.default]";
    let ring = files.path().join("ring.json").to_str().unwrap().to_owned();
    let text = r#"{"Kind": "service-splitter", "Name": "payments",
        "Splits": [{"Weight": 100, "Service": "web"}]}"#;
    fs::write(&ring, text).unwrap();

    let subset = "service \"payments\" does not have a subset named \"green\"";
    for (file, text, place, line) in [
        (&file, subset, "5:35", "  5 |   { weight = 10, service_subset = \"green\" }"),
        (&file, "service payments: SERVICES is full", "2:8", "  2 | name = \"payments\""),
        (
            &ring,
            circle,
            "2:47",
            "  2 |         \"Splits\": [{\"Weight\": 100, \"Service\": \"web\"}]}",
        ),
    ] {
        let server = Server::start([Reply::new(500, text)]);

        let ran = canaryctl(&server.address(), &["config", "write", file]).await;

        let column: usize = place[2..].parse().unwrap();
        let caret = format!("    | {}^", " ".repeat(column - 1));
        assert_eq!(ran.code, 4);
        assert_eq!(ran.err, format!("{file}:{place}: {text}\n{line}\n{caret}\n"));
    }
}

#[tokio::test]
async fn a_missed_index_is_a_conflict() {
    let files = tempfile::tempdir().unwrap();
    let file = splitter(files.path());
    let server = Server::start([Reply::new(200, "false")]);

    let ran =
        canaryctl(&server.address(), &["config", "write", "-cas", "-modify-index", "7", &file])
            .await;

    assert_eq!(ran.err, "Config entry not updated: service-splitter/payments\n");
    assert_eq!(ran.code, 6);
    assert_eq!(
        server.lines(),
        ["GET /v1/config/service-splitter/payments", "PUT /v1/config?cas=7"]
    );
}

#[tokio::test]
async fn the_agents_refusal_names_the_file() {
    let files = tempfile::tempdir().unwrap();
    let file = splitter(files.path());
    let server = Server::start([Reply::new(500, "service \"payments\" has no subset \"green\"")]);

    let ran = canaryctl(&server.address(), &["config", "write", &file]).await;

    let says = format!("{file}:2:8: service \"payments\" has no subset \"green\"\n  2 | name");
    assert!(ran.err.starts_with(&says), "{}", ran.err);
    assert_eq!(ran.code, 4);
}

#[tokio::test]
async fn a_broken_file_is_refused_before_anyone_is_asked() {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("bad.hcl");
    fs::write(&path, "kind = \"service-splitter\"\nname = payments\n").unwrap();
    let server = Server::start([Reply::new(200, "true")]);

    let ran = canaryctl(&server.address(), &["config", "write", path.to_str().unwrap()]).await;

    assert_eq!(ran.code, 4);
    assert!(ran.err.starts_with(&format!("{}:2:8: ", path.display())), "{}", ran.err);
    assert_eq!(server.lines(), [""; 0]);
}

#[tokio::test]
async fn entries_are_read_listed_and_deleted() {
    let entry = r#"{"Kind":"service-splitter","Name":"a/b"}"#;
    let server = Server::start([
        Reply::new(200, entry),
        Reply::new(200, format!("[{entry}]")),
        Reply::new(200, "{}"),
        Reply::new(404, "Config entry not found for \"service-splitter\" / \"a/b\""),
    ]);
    let address = server.address();
    let which = ["-kind", "service-splitter", "-name=a/b"];

    let read = canaryctl(&address, &[&["config", "read"], &which[..]].concat()).await;
    let list = canaryctl(&address, &["config", "list", "--kind", "service-splitter"]).await;
    let delete = canaryctl(&address, &[&["config", "delete"], &which[..]].concat()).await;
    let missing = canaryctl(&address, &[&["config", "read"], &which[..]].concat()).await;

    assert_eq!(read.out, "{\n    \"Kind\": \"service-splitter\",\n    \"Name\": \"a/b\"\n}\n");
    assert_eq!(list.out, "a/b\n");
    assert_eq!(delete.out, "Config entry deleted: service-splitter/a/b\n");
    assert_eq!((missing.code, missing.out.as_str()), (3, ""));
    let path = "/v1/config/service-splitter";
    assert_eq!(
        server.lines(),
        [
            format!("GET {path}/a%2Fb"),
            format!("GET {path}"),
            format!("DELETE {path}/a%2Fb"),
            format!("GET {path}/a%2Fb")
        ]
    );
}

#[tokio::test]
async fn weights_move_and_are_told() {
    let server = Server::start([Reply::new(200, CHANGED)]);
    let address = server.address();

    let set = canaryctl(&address, &["split", "set", "payments", "blue=100", "green=0"]).await;
    let back = canaryctl(&address, &["rollback", "payments", "--to", "blue"]).await;
    let plain = canaryctl(&address, &["rollback", "payments"]).await;
    let undo = canaryctl(&address, &["undo", "payments"]).await;

    let told = "payments blue 50 -> 100, green 50 -> 0 (revision 12 -> 13)\n";
    assert_eq!(set.out, format!("Split set: {told}"));
    assert_eq!(set.err, "WARNING: green keeps 3 connections\n");
    assert_eq!(back.out, format!("Rolled back: {told}"));
    assert_eq!(undo.out, format!("Undone: {told}"));
    assert_eq!(plain.code, 0);
    let asked: Vec<_> = server.asked().into_iter().map(|asked| (asked.line, asked.body)).collect();
    let expect = |line: &str, body: &str| (line.to_owned(), body.to_owned());
    assert_eq!(
        asked,
        [
            expect("PUT /v1/canary/split/payments", r#"{"blue":100.0,"green":0.0}"#),
            expect("PUT /v1/canary/rollback/payments", r#"{"to":"blue"}"#),
            expect("PUT /v1/canary/rollback/payments", "{}"),
            expect("PUT /v1/canary/undo/payments", ""),
        ]
    );
}

#[tokio::test]
async fn a_service_nobody_knows_is_not_found() {
    let server = Server::start([Reply::new(200, ready(PAYMENTS))]);

    let ran = canaryctl(&server.address(), &["status", "payment"]).await;

    assert_eq!(ran.err, "no service is known as \"payment\" (did you mean \"payments\"?)\n");
    assert_eq!(ran.code, 3);
}

#[tokio::test]
async fn json_of_a_service_is_its_element_and_keeps_unknown_fields() {
    let server = Server::start([Reply::new(200, PAYMENTS), Reply::new(200, ready(PAYMENTS))]);
    let address = server.address();

    let one = canaryctl(&address, &["status", "payments", "--json"]).await;
    let all = canaryctl(&address, &["status", "--json"]).await;

    let one: serde_json::Value = serde_json::from_str(&one.out).unwrap();
    let all: serde_json::Value = serde_json::from_str(&all.out).unwrap();
    assert_eq!(one, all["services"][0]);
    assert_eq!(all["new"], 7);
    assert_eq!(server.lines(), ["GET /v1/canary/status/payments", "GET /v1/canary/status"]);
}

#[tokio::test]
async fn waiting_ends_when_the_agent_is_ready() {
    let not_yet = ready("").replace("\"ready\":true", "\"ready\":false");
    let server = Server::start([
        Reply::new(503, "starting"),
        Reply::new(200, not_yet),
        Reply::new(200, ready(PAYMENTS)),
    ]);

    let ran = canaryctl(&server.address(), &["status", "--wait"]).await;

    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("payments"), "{}", ran.out);
    assert_eq!(server.lines().len(), 4);
}

#[tokio::test]
async fn waiting_gives_up_with_the_reason() {
    let not_yet = ready("").replace("\"ready\":true", "\"ready\":false");
    let server = Server::start([Reply::new(200, not_yet)]);

    let ran = canaryctl(&server.address(), &["status", "--wait", "--timeout", "200ms"]).await;
    let nobody = canaryctl("unix:///nowhere", &["status", "--wait", "--timeout", "100ms"]).await;

    assert_eq!(ran.err, "the agent is not ready after 200ms: no revision is in force yet\n");
    assert_eq!(ran.code, 1);
    assert_eq!(nobody.code, 5);
}

#[tokio::test]
async fn the_command_line_has_its_own_exit_code() {
    for line in [
        &["split", "set", "payments"][..],
        &["nonsense"],
        &["split", "set", "a", "b"],
        &["config", "read"],
    ] {
        let ran = canaryctl("unix:///nowhere", line).await;
        assert_eq!(ran.code, 2, "{line:?}: {}", ran.err);
        assert_eq!(ran.out, "");
    }
    let help = canaryctl("unix:///nowhere", &["--help"]).await;
    assert_eq!(help.code, 0);
    assert!(help.out.contains("rollback"), "{}", help.out);
}

#[tokio::test]
async fn versions_are_shown_without_an_agent_too() {
    let server = Server::start([Reply::new(200, ready(""))]);

    let both = canaryctl(&server.address(), &["version"]).await;
    let alone = canaryctl("unix:///nowhere", &["version", "--json"]).await;

    assert_eq!(
        both.out,
        format!("canaryctl {0}\ncanary-agent 0.1.0 (layout 1)\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(alone.code, 0);
    let alone: serde_json::Value = serde_json::from_str(&alone.out).unwrap();
    assert_eq!(alone["agent"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_shells_script_asks_this_program() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = canaryctl("unix:///nowhere", &["completions", shell]).await;
        assert!(
            ran.out.contains("COMPLETE") && ran.out.contains("canaryctl"),
            "{shell}: {}",
            ran.out
        );
    }
    assert_eq!(canaryctl("unix:///nowhere", &["completions", "tcsh"]).await.code, 2);
}

/// Writes until so many lines are there, then the reader has left.
struct Reader {
    text: String,
    lines: usize,
}

impl std::io::Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.text.lines().count() >= self.lines {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        self.text.push_str(std::str::from_utf8(bytes).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn watching_shows_what_is_new_and_survives_an_agent_that_is_away() {
    let later = |opened: u64| {
        let service = PAYMENTS.replace("\"opened\":0", &format!("\"opened\":{opened}"));
        Reply::new(200, ready(&service))
    };
    let server = Server::start([
        later(1),
        later(1),
        Reply::new(503, "the agent is stopping"),
        Reply::new(503, "the agent is stopping"),
        later(2),
        later(3),
        later(4),
    ]);
    let words = ["canaryctl", "--agent", &server.address(), "status", "--watch", "--json"];
    let mut out = Reader { text: String::new(), lines: 3 };
    let mut err = Vec::new();

    let words = words.map(OsString::from).to_vec();
    let code = super::run(words, &mut Console::new(&mut out, &mut err)).await;

    assert_eq!(code, 0);
    let opened = out.text.lines().map(|line| {
        let document: serde_json::Value = serde_json::from_str(line).unwrap();
        document["services"][0]["splits"][0]["connections"]["opened"].as_u64().unwrap()
    });
    assert_eq!(opened.collect::<Vec<_>>(), [1, 2, 3]);
    let err = String::from_utf8(err).unwrap();
    assert_eq!(err, "the agent is stopping\nthe agent answers again\n");
}

#[tokio::test]
async fn a_screen_is_drawn_in_place_and_left_as_it_was() {
    let server = Server::start([
        Reply::new(200, ready(PAYMENTS)),
        Reply::new(503, "the agent is stopping"),
        Reply::new(200, ready(PAYMENTS)),
        Reply::new(200, ready(&PAYMENTS.replace("100.0", "99.0"))),
    ]);
    let words = ["canaryctl", "--agent", &server.address(), "status", "payments", "--watch"];
    let words = words.map(OsString::from).to_vec();
    let (mut out, mut err) = (Frames::default(), Vec::new());
    let mut console = Console::new(&mut out, &mut err);
    console.screen = true;

    let code = super::run(words, &mut console).await;

    assert_eq!((code, err.as_slice()), (0, &b""[..]));
    let [open, first, away, back] = out.frames.as_slice() else { panic!("{:?}", out.frames) };
    assert!(open.starts_with("\x1b[?25l"), "{open:?}");
    assert!(first.starts_with("\x1b[H") && first.contains("payments\x1b[K\n"), "{first:?}");
    assert!(
        away.contains("payments\x1b[K\n") && away.contains("‼ the agent is stopping"),
        "{away:?}"
    );
    assert_eq!(first, back);
}

/// Frames of a screen, until the fifth.
#[derive(Default)]
struct Frames {
    frames: Vec<String>,
}

impl std::io::Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.frames.len() == 4 {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        self.frames.push(String::from_utf8(bytes.to_vec()).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_reader_that_left_ends_the_command_quietly() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let words = ["canaryctl", "completions", "bash"].map(OsString::from).to_vec();
    let mut err = Vec::new();

    let code = super::run(words, &mut Console::new(&mut Closed, &mut err)).await;

    assert_eq!(code, 0);
    assert!(err.is_empty());
}

#[test]
fn the_name_of_the_program_decides_whose_command_it_is() {
    let called = |program: &str| super::is_consul(&[OsString::from(program)]);

    assert!(called("consul"));
    assert!(called("/usr/local/bin/consul"));
    assert!(!called("canaryctl"));
    assert!(!called("/opt/consul/canaryctl"));
}
