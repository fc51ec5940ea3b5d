use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::*;
use crate::compile::Shown;

/// What a service is, in the words of a golden file.
fn describe(desired: &Desired) -> String {
    let mut text = String::new();
    for service in &desired.services {
        let vips: Vec<String> = service.frontends.iter().map(|at| Shown(at).to_string()).collect();
        writeln!(text, "  {} at {}", service.name, vips.join(", ")).unwrap();
        for split in &service.splits {
            let backends: Vec<String> = split
                .backends
                .iter()
                .map(|backend| {
                    let health = if backend.healthy { "" } else { " unhealthy" };
                    format!("{}{health}", Shown(&backend.endpoint))
                })
                .collect();
            let key = &split.key;
            writeln!(
                text,
                "    {} {}/{}: {}",
                split.share,
                key.target,
                key.subset,
                backends.join(", ")
            )
            .unwrap();
        }
    }
    if text.is_empty() { "  nothing\n".to_owned() } else { text }
}

/// Plans the way through `states` and compares each step's stores with the golden file.
///
/// `CANARY_BLESS=1` writes the file anew.
fn check(name: &str, states: &[Desired]) {
    let mut lab = Lab::new(Sizes { buckets: 1 << 16, ..SMALL });
    let (mut published, writes) = Published::new(lab.sizes);
    lab.apply_all(&writes);
    let mut text = String::new();
    for (before, after) in [Desired::default()].iter().chain(states).zip(states) {
        let writes = plan(&mut published, after).unwrap();
        lab.apply_all(&writes);
        lab.grace(&mut published);
        write!(text, "before\n{}after\n{}stores\n", describe(before), describe(after)).unwrap();
        for write in writes {
            writeln!(text, "  {write}").unwrap();
        }
        text.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if env::var_os("CANARY_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap();
    assert!(text == golden, "{} differs; is:\n{text}", path.display());
}

#[test]
fn a_first_service() {
    check("first-service.txt", &[desired(vec![payments(10_000)])]);
}

#[test]
fn weights_cost_a_record_and_a_store() {
    check("weights.txt", &[10_000, 5000, 10_000].map(|blue| desired(vec![payments(blue)])));
}

#[test]
fn a_backend_comes_and_another_goes() {
    let splits =
        vec![split("payments", "blue", 9000, &[2, 4]), split("payments", "green", 1000, &[3])];
    check(
        "backends.txt",
        &[desired(vec![payments(9000)]), desired(vec![service("payments", &[10], splits)])],
    );
}

#[test]
fn a_service_goes() {
    let other = service("web", &[11], vec![split("web", "", 10_000, &[9])]);
    check(
        "service-goes.txt",
        &[desired(vec![payments(9000), other.clone()]), desired(vec![other])],
    );
}

#[test]
fn a_frontend_moves_between_services_that_share_pods() {
    let web = |vips: &[u8]| service("web", vips, vec![split("web", "", 10_000, &[1, 2])]);
    let api = |vips: &[u8]| service("api", vips, vec![split("api", "", 10_000, &[1])]);
    check(
        "frontend-moves.txt",
        &[desired(vec![api(&[10, 12]), web(&[11])]), desired(vec![api(&[10]), web(&[11, 12])])],
    );
}

#[test]
fn a_backend_falls_ill() {
    let mut ill = payments(9000);
    ill.splits[0].backends[0].healthy = false;
    ill.splits[1].backends[0].healthy = false;
    check("health.txt", &[desired(vec![payments(9000)]), desired(vec![ill])]);
}
