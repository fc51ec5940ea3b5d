use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::catalog::{LoneCheck, parse_check};

mod kinds;

const SOON: Duration = Duration::from_secs(60);

/// The check that a registration's `fields` define, of instance `w`.
fn check(fields: &str) -> Arc<Check> {
    let LoneCheck { check, .. } =
        parse_check(format!("name = \"c\"\n{fields}").as_bytes()).unwrap();
    check
}

/// Checks that run, and what they say.
struct Bench {
    checks: Checks,
    receiver: mpsc::Receiver<Change>,
}

impl Bench {
    fn new(remembered: &[(&str, &Remembered)]) -> Self {
        let remembered =
            remembered.iter().map(|(id, known)| ((*id).to_owned(), (*known).clone())).collect();
        let (checks, receiver) = Checks::new(remembered);
        Self { checks, receiver }
    }

    fn with(check: &Arc<Check>) -> Self {
        let mut bench = Self::new(&[]);
        bench.watch(&[check]);
        bench
    }

    fn watch(&mut self, checks: &[&Arc<Check>]) -> Vec<String> {
        self.checks.watch(checks.iter().map(|check| (*check, "w")))
    }

    fn status(&self, check: &Check) -> Health {
        self.checks.state(check, "w").status
    }

    /// Waits for the next change and takes note of it.
    async fn next(&mut self) -> Noted {
        let change = timeout(SOON, self.receiver.recv()).await.expect("a change in time").unwrap();
        self.checks.record(change).expect("a change of a check that runs")
    }
}

#[tokio::test]
async fn a_check_is_critical_until_it_succeeds_and_follows_its_target() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let check = check(&format!("tcp = \"{target}\" interval = \"20ms\""));
    let mut bench = Bench::with(&check);
    assert_eq!(bench.status(&check), Health::Critical);

    let up = bench.next().await;
    assert_eq!((up.before, up.state.status), (Health::Critical, Health::Passing));
    assert_eq!(*up.state.output, *format!("TCP connect {target}: Success"));
    assert_eq!(bench.status(&check), Health::Passing);

    drop(listener);
    let down = bench.next().await;
    assert_eq!((down.before, down.state.status), (Health::Passing, Health::Critical));
    assert!(down.state.output.starts_with(&format!("dial tcp {target}: ")), "{down:?}");
}

#[tokio::test]
async fn a_check_keeps_its_state_when_watched_again_and_loses_it_when_it_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let often = check(&format!("tcp = \"{target}\" interval = \"20ms\""));
    let mut bench = Bench::with(&often);
    bench.next().await;

    let seldom = check(&format!("notes = \"n\" tcp = \"{target}\" interval = \"60s\""));
    assert!(bench.watch(&[&seldom]).is_empty());
    let state = bench.checks.state(&seldom, "w");
    assert_eq!((state.status, &*state.notes), (Health::Passing, "n"));

    let elsewhere = check("tcp = \"127.0.0.1:1\" interval = \"60s\"");
    bench.watch(&[&elsewhere]);
    assert_eq!(bench.status(&elsewhere), Health::Critical);

    assert_eq!(bench.watch(&[]), ["c"]);
    assert_eq!(bench.status(&seldom), Health::Critical);
}

#[tokio::test]
async fn an_ended_run_has_nothing_to_say_any_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let often = check(&format!("tcp = \"{target}\" interval = \"20ms\""));
    let mut bench = Bench::with(&often);
    let change = timeout(SOON, bench.receiver.recv()).await.unwrap().unwrap();

    bench.watch(&[&check("tcp = \"127.0.0.1:1\" interval = \"60s\"")]);
    assert!(bench.checks.record(change.clone()).is_none());
    bench.watch(&[]);
    assert!(bench.checks.record(change).is_none());
}

#[tokio::test]
async fn a_restart_remembers_until_the_first_result_and_only_the_same_target() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let same = check(&format!("tcp = \"{target}\" interval = \"20ms\""));
    let known = Bench::with(&same).next().await.remembered;
    drop(listener);
    let json = serde_json::to_value(&known).unwrap();
    assert_eq!(serde_json::from_value::<Remembered>(json).unwrap(), known);

    let mut bench = Bench::new(&[("c", &known), ("gone", &known)]);
    assert_eq!(bench.watch(&[&same]), ["gone"]);
    assert_eq!(bench.status(&same), Health::Passing);
    assert_eq!(bench.next().await.state.status, Health::Critical);

    let other = check("tcp = \"127.0.0.1:1\" interval = \"60s\"");
    let mut bench = Bench::new(&[("c", &known)]);
    bench.watch(&[&other]);
    assert_eq!(bench.status(&other), Health::Critical);
}

#[tokio::test]
async fn thresholds_hold_a_state_for_as_long_as_they_say() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let steps = "failures_before_warning = 2 failures_before_critical = 4";
    let check = check(&format!("tcp = \"{target}\" interval = \"10ms\" {steps}"));
    let mut bench = Bench::with(&check);
    assert_eq!(bench.next().await.state.status, Health::Passing);

    drop(listener);

    assert_eq!(bench.next().await.state.status, Health::Warning);
    assert_eq!(bench.next().await.state.status, Health::Critical);
}

#[tokio::test]
async fn a_ttl_check_lapses_when_nobody_has_said_anything_for_its_time() {
    let check = check("ttl = \"200ms\"");
    let mut bench = Bench::with(&check);
    let noted = bench.checks.set("c", Health::Passing, "fine".into()).unwrap();
    assert_eq!((noted.state.status, &*noted.state.output), (Health::Passing, "fine"));
    bench.checks.set("c", Health::Warning, "so so".into()).unwrap();
    assert_eq!(bench.status(&check), Health::Warning);
    let set = Instant::now();

    let lapsed = bench.next().await;

    assert!(set.elapsed() >= Duration::from_millis(199), "{:?}", set.elapsed());
    assert_eq!(lapsed.state.status, Health::Critical);
    assert_eq!(&*lapsed.state.output, "TTL expired (last output before timeout follows): so so");
    assert_eq!(bench.checks.set("c", Health::Passing, "".into()).unwrap().before, Health::Critical);
}

#[tokio::test]
async fn a_ttl_check_that_was_never_set_lapses_too() {
    let check = check("ttl = \"20ms\" status = \"passing\"");
    let mut bench = Bench::with(&check);
    assert_eq!(bench.status(&check), Health::Passing);

    let lapsed = bench.next().await;

    assert_eq!((lapsed.state.status, &*lapsed.state.output), (Health::Critical, "TTL expired"));
}

#[tokio::test]
async fn only_a_ttl_check_can_be_set() {
    let mut bench = Bench::with(&check("tcp = \"127.0.0.1:1\" interval = \"60s\""));
    assert_eq!(bench.checks.set("c", Health::Passing, "".into()).unwrap_err(), NotSet::NoTtl);
    assert_eq!(bench.checks.set("d", Health::Passing, "".into()).unwrap_err(), NotSet::Unknown);
}

#[tokio::test]
async fn a_ttl_check_keeps_its_deadline_over_a_restart() {
    let check = check("ttl = \"1h\"");
    let known = |expires: u64| -> Remembered {
        serde_json::from_value(serde_json::json!({
            "status": "passing", "subject": "ttl", "output": "fine", "expires": expires,
        }))
        .unwrap()
    };
    let now = SystemTime::now();
    let millis = u64::try_from(now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis());
    let millis = millis.unwrap();
    let left = |expires| known(expires).left(&check, now);
    assert_eq!(left(millis + 5), Some(Duration::from_millis(5)));
    assert_eq!(left(millis - 5), Some(Duration::ZERO));
    // A clock that was set back.
    assert_eq!(left(millis * 2), Some(Duration::from_secs(3600)));

    let mut bench = Bench::new(&[("c", &known(millis + 300))]);
    bench.watch(&[&check]);
    assert_eq!(bench.status(&check), Health::Passing);
    assert_eq!(bench.next().await.state.status, Health::Critical);

    let mut bench = Bench::new(&[("c", &known(1))]);
    bench.watch(&[&check]);
    let state = bench.checks.state(&check, "w");
    assert_eq!(state.status, Health::Critical);
    assert_eq!(&*state.output, "TTL expired (last output before timeout follows): fine");
}

#[tokio::test]
async fn a_check_is_overdue_when_it_was_critical_for_too_long_without_a_break() {
    let check = check("ttl = \"10m\" deregister_critical_service_after = \"2m\"");
    let mut bench = Bench::with(&check);
    let later = |seconds| Instant::now() + Duration::from_secs(seconds);
    assert_eq!(bench.checks.overdue(later(119)), None);
    bench.checks.set("c", Health::Warning, "".into()).unwrap();
    assert_eq!(bench.checks.overdue(later(1000)), None);
    bench.checks.set("c", Health::Critical, "".into()).unwrap();
    let since = Instant::now();
    bench.checks.set("c", Health::Critical, "again".into()).unwrap();
    assert_eq!(bench.checks.overdue(later(119)), None);

    let due = since + Duration::from_secs(120);

    assert_eq!(bench.checks.overdue(due), Some(("c".into(), "w".into())));
    assert_eq!(bench.checks.overdue(due), None, "told at once again");
    assert!(bench.checks.overdue(due + DEREGISTER_AGAIN).is_some());
}

#[tokio::test]
async fn a_deadline_is_that_of_the_newest_definition() {
    let until = |after: &str| {
        check(&format!("ttl = \"10m\" deregister_critical_service_after = \"{after}\""))
    };
    let (soon, late) = (until("1m"), until("1h"));
    let mut bench = Bench::with(&soon);
    let now = Instant::now();
    let at = |minutes: u64| now + Duration::from_secs(60 * minutes + 1);

    bench.watch(&[&late]);
    assert_eq!(bench.checks.overdue(at(1)), None, "it may be critical for an hour now");
    assert_eq!(bench.checks.overdue(at(60)), Some(("c".into(), "w".into())));

    bench.watch(&[&soon]);
    assert_eq!(bench.checks.overdue(at(1)), Some(("c".into(), "w".into())));
}
