//! Completions as a shell asks for them: by the environment, of the program itself.
#![expect(
    clippy::unwrap_used,
    reason = "all of it is test code, and the exemption of the lints covers only test functions"
)]

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;

/// Candidates for the last of `words`, as bash would ask for them.
fn complete(agent: &Path, words: &[&str]) -> (Vec<String>, String, Duration) {
    let start = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_canaryctl"))
        .env("COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
        .env("_CLAP_IFS", "\n")
        .env("CANARY_AGENT", format!("unix://{}", agent.display()))
        .args(["--", "canaryctl"])
        .args(words)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{err}");
    (text.lines().map(str::to_owned).collect(), err, start.elapsed())
}

#[test]
fn names_come_from_the_agent_that_the_environment_names() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("agent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let resolver = r#"{"Name":"payments","Subsets":{"green":{},"blue":{}}}"#;
    let router = Router::new()
        .route("/v1/config/service-resolver/payments", get(move || async move { resolver }));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            axum::serve(listener, router).await
        })
    });

    let (found, err, _) = complete(&socket, &["split", "set", "payments", "b"]);

    assert_eq!((found, err.as_str()), (vec!["blue=".to_owned()], ""));
}

#[test]
fn without_an_agent_there_is_silence_and_soon() {
    let directory = tempfile::tempdir().unwrap();
    // It takes connections and never answers.
    let mute = directory.path().join("mute.sock");
    let _listener = UnixListener::bind(&mute).unwrap();

    for agent in [directory.path().join("nobody.sock"), mute] {
        let (found, err, took) = complete(&agent, &["rollback", "p"]);
        assert_eq!((found, err.as_str()), (Vec::new(), ""));
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
    let (verbs, _, _) = complete(Path::new("/nowhere"), &["conf"]);
    assert_eq!(verbs, ["config"]);
}
