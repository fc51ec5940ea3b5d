//! Health by command lines, against the real agent on a datapath of memory.

use std::fs;

use super::story::Lab;

#[tokio::test]
async fn maintenance_is_turned_on_and_off_and_seen_among_the_checks() {
    let lab = Lab::start().await;
    let file = lab.directory.path().join("web.hcl").display().to_string();
    let text = "service { name = \"web\" id = \"w\" port = 80 check { ttl = \"1h\" status = \"passing\" } }";
    fs::write(&file, text).unwrap();
    assert_eq!(lab.run(&["service", "register", &file]).await.code, 0);

    let on = ["service", "maintenance", "w", "--enable", "--reason", "new disk & more"];
    let on = lab.run(&on).await;
    assert_eq!((on.code, on.out.as_str()), (0, "Maintenance mode enabled: service w\n"));
    let shown = lab.run(&["service", "checks", "w"]).await;
    assert_eq!(
        shown.out,
        "SERVICE ID  CHECK                   TYPE         STATUS    OUTPUT\n\
         w           _service_maintenance:w  maintenance  critical  new disk & more\n\
         w           service:w               ttl          passing\n"
    );

    let off = lab.run(&["service", "maintenance", "w", "--disable"]).await;
    assert_eq!((off.code, off.out.as_str()), (0, "Maintenance mode disabled: service w\n"));
    let node = lab.run(&["service", "maintenance", "--node", "--enable"]).await;
    assert_eq!((node.code, node.out.as_str()), (0, "Maintenance mode enabled: this node\n"));
    let shown = lab.run(&["service", "checks", "--json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(shown["_node_maintenance"]["Status"], "critical");
    assert!(shown.get("_service_maintenance:w").is_none(), "{shown}");
}

#[tokio::test]
async fn what_makes_no_sense_is_said_with_its_exit_code() {
    let lab = Lab::start().await;

    for (line, code) in [
        (vec!["service", "maintenance", "x", "--enable"], 3),
        (vec!["service", "checks", "x"], 3),
        (vec!["service", "maintenance", "x"], 2),
        (vec!["service", "maintenance", "--enable"], 2),
        (vec!["service", "maintenance", "x", "--enable", "--disable"], 2),
        (vec!["service", "maintenance", "x", "--disable", "--reason", "r"], 2),
    ] {
        let ran = lab.run(&line).await;
        assert_eq!(ran.code, code, "{line:?}: {}{}", ran.out, ran.err);
    }
}
