//! Observers of every sort on one hub.

use std::future::poll_fn;

use canary_common::endpoint::TCP;

use super::*;
use crate::compile::endpoint;

fn hub() -> (Arc<Hub>, Arc<Mutex<Vec<Demand>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    (Arc::new(Hub::new(move |demand| hears.lock().unwrap().push(demand))), heard)
}

fn seen(kind: Kind, reason: Option<Reason>, number: u32) -> Seen {
    let client = endpoint([10, 0, 0, 7].into(), 4000, TCP);
    let event = Event { time: number.to_string(), ..Event::default() };
    let service = Some("web".to_owned());
    Seen { kind, reason, client: Some(client), split: None, service, draw: 0, event }
}

/// The times in the next lines, and how many were lost before them.
async fn next(subscription: &mut Subscription) -> (u64, Vec<u32>) {
    let text = poll_fn(|context| subscription.poll(context, usize::MAX)).await;
    let mut lost = 0;
    let mut times = Vec::new();
    for line in text.lines() {
        if let Ok(found) = serde_json::from_str::<Lost>(line) {
            lost += found.count;
        } else {
            let event: Event = serde_json::from_str(line).unwrap();
            times.push(event.time.parse().unwrap());
        }
    }
    (lost, times)
}

#[tokio::test]
async fn each_hears_what_it_asked_for() {
    let (hub, _) = hub();
    let of = |kinds: &[Kind], reasons: &[Reason]| Wanted {
        kinds: kinds.to_vec(),
        reasons: reasons.to_vec(),
        ..Wanted::default()
    };
    let mut usual = hub.join(Wanted::default()).unwrap();
    let mut drops = hub.join(of(&[Kind::Dropped], &[])).unwrap();
    let mut no_port = hub.join(of(&[], &[Reason::NoPort])).unwrap();
    let mut straight = hub.join(of(&[], &[Reason::Straight])).unwrap();
    let other = Whose { service: Some("db".to_owned()), ..Whose::default() };
    let mut other = hub.join(Wanted { whose: other, ..Wanted::default() }).unwrap();
    let client = Whose { client: Some("10.0.0.8".parse().unwrap()), ..Whose::default() };
    let mut stranger = hub.join(Wanted { whose: client, ..Wanted::default() }).unwrap();

    hub.tell(&seen(Kind::Connection, None, 1));
    hub.tell(&seen(Kind::Dropped, Some(Reason::Stray), 2));
    hub.tell(&seen(Kind::Refused, Some(Reason::NoPort), 3));
    hub.tell(&seen(Kind::Passed, Some(Reason::Straight), 4));
    let unknown =
        Seen { client: None, service: None, ..seen(Kind::Dropped, Some(Reason::Busy), 5) };
    hub.tell(&unknown);
    // What nobody filters away ends the wait of those who hear nothing else.
    let of_db = Seen { service: Some("db".to_owned()), ..seen(Kind::Reset, None, 6) };
    hub.tell(&of_db);
    let from_other = endpoint([10, 0, 0, 8].into(), 1, TCP);
    hub.tell(&Seen { client: Some(from_other), ..seen(Kind::Clash, None, 7) });

    assert_eq!(next(&mut usual).await, (0, vec![1, 2, 3, 5, 6, 7]));
    assert_eq!(next(&mut drops).await, (0, vec![2, 5]));
    assert_eq!(next(&mut no_port).await, (0, vec![3]));
    assert_eq!(next(&mut straight).await, (0, vec![4]));
    assert_eq!(next(&mut other).await, (0, vec![6]));
    assert_eq!(next(&mut stranger).await, (0, vec![7]));
}

#[tokio::test]
async fn a_slow_observer_loses_events_is_told_how_many_and_holds_up_none() {
    let (hub, _) = hub();
    let mut slow = hub.join(Wanted::default()).unwrap();
    let mut quick = hub.join(Wanted::default()).unwrap();

    let mut heard = 0;
    let many = u32::try_from(WAITING).unwrap() + 100;
    for number in 0..many {
        hub.tell(&seen(Kind::Connection, None, number));
        heard += next(&mut quick).await.1.len();
    }
    hub.lose(7);

    assert_eq!(heard, usize::try_from(many).unwrap());
    let (lost, times) = next(&mut slow).await;
    assert_eq!((lost, times.len()), (107, WAITING));
    hub.tell(&seen(Kind::Connection, None, many));
    assert_eq!(next(&mut slow).await, (0, vec![many]), "it is told once");
}

#[tokio::test]
async fn samples_are_each_observers_own() {
    let (hub, heard) = hub();
    let sample = |sample| Wanted { sample, ..Wanted::default() };
    let mut all = hub.join(sample(0)).unwrap();
    let mut some = hub.join(sample(4)).unwrap();

    for (number, draw) in [0, u32::MAX / 8, u32::MAX / 2, u32::MAX].into_iter().enumerate() {
        let number = u32::try_from(number).unwrap();
        hub.tell(&Seen { draw, ..seen(Kind::Connection, None, number) });
    }
    hub.tell(&Seen { draw: u32::MAX, ..seen(Kind::Reset, None, 9) });

    assert_eq!(next(&mut all).await.1, [0, 1, 2, 3, 9]);
    assert_eq!(next(&mut some).await.1, [0, 1, 9]);
    drop(all);
    let usual = Wanted::default().bits();
    let demands = heard.lock().unwrap().clone();
    assert_eq!(
        demands,
        [1, 1, 4].map(|sample| Demand { kinds: usual, sample }),
        "the larger sample is asked for as long as somebody wants it"
    );
}

#[tokio::test]
async fn nothing_is_asked_for_once_nobody_observes() {
    let (hub, heard) = hub();
    let first = hub.join(Wanted { kinds: vec![Kind::Passed], ..Wanted::default() }).unwrap();
    let second = hub.join(Wanted { kinds: vec![Kind::Reset], ..Wanted::default() }).unwrap();

    drop(first);
    assert!(!hub.is_empty());
    drop(second);

    assert!(hub.is_empty());
    let [passed, reset] = [Kind::Passed.bit(), Kind::Reset.bit()];
    let kinds: Vec<u32> = heard.lock().unwrap().iter().map(|demand| demand.kinds).collect();
    assert_eq!(kinds, [passed, passed | reset, reset, 0]);
    hub.tell(&seen(Kind::Passed, Some(Reason::Straight), 1));
}

#[test]
fn there_is_an_end_to_observers() {
    let (hub, _) = hub();
    let mut all: Vec<_> =
        (0..MAX_OBSERVERS).map(|_| hub.join(Wanted::default()).unwrap()).collect();

    let refused = hub.join(Wanted::default()).unwrap_err();

    assert!(refused.to_string().starts_with("16 observe already"), "{refused}");
    all.remove(3);
    assert!(hub.join(Wanted::default()).is_ok());
}
