//! Screens and tables of two looks.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::*;
use crate::ctl::server::{Reply, Server};
use crate::ctl::tests::canaryctl;
use crate::document::Status;

/// A split: opened, refused, bytes from clients, healthy backends.
fn split(
    subset: &str,
    weight: f64,
    [opened, refused, bytes, healthy]: [u64; 4],
) -> serde_json::Value {
    let connections = json!({"opened": opened, "established": opened, "refused": refused, "timed_out": 0,
        "unanswered": 0, "reset_by_server": 0, "reset_by_client": 0, "closed": 0, "active": 3});
    json!({"service": "payments", "subset": subset, "weight": weight,
        "backends": {"total": 2, "healthy": healthy, "draining": 0}, "connections": connections,
        "bytes": {"to_backend": bytes, "to_client": 0},
        "connect_us": {"count": opened, "p50": 60, "p99": 140},
        "response_us": if subset == "green" { json!(null) } else { json!({"count": 9, "p50": 800, "p99": 2100}) },
        "http": null})
}

fn status(payments: [[u64; 4]; 2], currency: u64) -> Status {
    let [blue, green] = payments;
    let service = |name: &str, splits: serde_json::Value| json!({"service": name, "frontends": [], "origin": {}, "splits": splits});
    let mut alone = split("", 100.0, [currency, 0, 0, 1]);
    alone["service"] = json!("currency");
    let services = [
        service("currency", json!([alone])),
        service("payments", json!([split("blue", 90.0, blue), split("green", 10.0, green)])),
    ];
    let status = json!({"ready": true, "revision": 12, "version": "0.1.0", "layout": 2,
        "source": {"kind": "files", "ok": true, "stale_seconds": 0}, "interfaces": [],
        "services": services, "reasons": {}, "warnings": []});
    serde_json::from_value(status).unwrap()
}

/// Two looks, two seconds apart.
fn looks() -> [Sample; 2] {
    let at = Instant::now();
    let before = status([[1000, 0, 0, 2], [100, 0, 0, 1]], 7);
    let after = status([[1091, 0, 4096, 2], [109, 3, 0, 0]], 7);
    [Sample { at, status: before }, Sample { at: at + Duration::from_secs(2), status: after }]
}

fn screen(view: &mut View, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let lines = buffer.content.chunks(usize::from(width));
    let line = |cells: &[ratatui::buffer::Cell]| {
        let text: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.trim_end().to_owned() + "\n"
    };
    lines.map(line).collect()
}

#[test]
fn the_screen_has_shares_wanted_and_seen_rates_failures_and_latencies() {
    let [before, after] = looks();
    let mut view = View::new(Sort::Name, before);
    view.show(after);

    assert_eq!(
        screen(&mut view, 120, 7),
        "\
canary 0.1.0 ready, revision 12 · 2 services · by name
SERVICE   SUBSET  PODS  WANTED   SEEN  CONN/S  FAIL/S  ACTIVE  CONNECT p50/p99  RESPONSE p50/p99  BYTES/S
currency  (all)    1/2  100.00      -     0.0     0.0       3     60us / 140us     800us / 2.1ms      0 B
payments  blue     2/2   90.00  91.00    45.5     0.0       3     60us / 140us     800us / 2.1ms  2.0 KiB
payments  green    0/2   10.00   9.00     4.5     1.5       3     60us / 140us                 -      0 B

q quit · s sort · ↑↓ scroll
"
    );
}

#[test]
fn a_small_screen_scrolls_and_never_beyond_its_end() {
    let [before, after] = looks();
    let mut view = View::new(Sort::Name, before);
    view.show(after);

    let first = screen(&mut view, 120, 4);
    for _ in 0..9 {
        view.take(Key::Down);
    }
    let last = screen(&mut view, 120, 4);
    view.take(Key::Up);
    let back = screen(&mut view, 120, 4);

    assert!(first.contains("currency") && !first.contains("payments"), "{first}");
    assert!(first.ends_with("0 above, 2 below\n"), "{first}");
    assert!(last.contains("green") && last.ends_with("2 above, 0 below\n"), "{last}");
    assert!(back.contains("blue") && back.ends_with("1 above, 1 below\n"), "{back}");
}

#[test]
fn s_goes_through_the_orders_and_q_ends() {
    let [before, after] = looks();
    let mut view = View::new(Sort::Name, before);
    view.show(after);

    let mut firsts = Vec::new();
    for _ in 0..4 {
        let shown = screen(&mut view, 120, 7);
        let head = shown.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned();
        let first = shown.lines().nth(2).unwrap().split(' ').next().unwrap().to_owned();
        firsts.push((head, first));
        assert!(!view.take(Key::Sort));
    }

    let expected = [
        ("name", "currency"),
        ("rate", "payments"),
        ("failures", "payments"),
        ("latency", "currency"),
    ];
    assert_eq!(firsts, expected.map(|(head, first)| (head.to_owned(), first.to_owned())));
    assert!(view.take(Key::Quit));
}

#[test]
fn a_look_that_fails_is_said_and_the_last_one_stays() {
    let [before, after] = looks();
    let mut view = View::new(Sort::Name, before);
    view.show(after.clone());

    view.fail("agent unreachable".to_owned());
    let failed = screen(&mut view, 120, 7);
    view.show(after);
    let again = screen(&mut view, 120, 7);

    assert!(failed.starts_with("‼ agent unreachable\n") && failed.contains("green"), "{failed}");
    assert!(again.starts_with("canary 0.1.0"), "{again}");
}

#[test]
fn keys_mean_what_the_foot_says() {
    let key = |code, modifiers| meaning(&Event::Key(KeyEvent::new(code, modifiers)));
    let plain = |code| key(code, KeyModifiers::NONE);

    assert_eq!(plain(KeyCode::Char('q')), Key::Quit);
    assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Key::Quit);
    assert_eq!(plain(KeyCode::Char('c')), Key::Other);
    assert_eq!(plain(KeyCode::Char('s')), Key::Sort);
    assert_eq!([plain(KeyCode::Up), plain(KeyCode::Down)], [Key::Up, Key::Down]);
    assert_eq!(meaning(&Event::Resize(80, 24)), Key::Other);
}

#[tokio::test]
async fn without_a_terminal_it_is_a_table_once_or_a_document() {
    let [before, after] = looks().map(|look| serde_json::to_string(&look.status).unwrap());
    let replies = || [&before, &after].map(|body| Reply::new(200, body.clone()));
    let server = Server::start(replies());
    let other = Server::start(replies());

    let table = canaryctl(&server.address(), &["top", "--sort", "rate", "--interval", "1ms"]).await;
    let line = ["top", "--once", "--json", "--interval", "1ms"];
    let document = canaryctl(&other.address(), &line).await;

    assert_eq!(table.code, 0, "{}", table.err);
    let lines: Vec<&str> = table.out.lines().collect();
    assert!(lines[0].starts_with("SERVICE   SUBSET  PODS"), "{}", table.out);
    assert!(lines[1].starts_with("payments  blue     2/2   90.00  91.00"), "{}", table.out);
    let document: serde_json::Value = serde_json::from_str(&document.out).unwrap();
    assert_eq!(document[0]["service"], "currency");
    assert_eq!(document[2]["share"], 9.0);
    assert_eq!(document[0]["share"], serde_json::Value::Null);
    assert_eq!(server.lines(), ["GET /v1/canary/status"; 2]);
}
