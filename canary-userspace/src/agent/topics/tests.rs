use std::sync::Arc;

use futures_util::FutureExt;

use super::*;
use crate::catalog::{Health, Instance, Node, Origin, Pairs, Weights};

fn registered(service: &str, id: &str, tag: &str) -> Registered {
    Registered {
        node: Arc::new(Node::default()),
        checks: Box::default(),
        instance: Instance {
            service: service.to_owned(),
            id: id.to_owned(),
            address: Some([10, 1, 0, 1].into()),
            port: 80,
            tags: vec![tag.to_owned()],
            meta: Pairs::default(),
            tagged_addresses: Pairs::default(),
            weights: Weights::default(),
            checks: Vec::new(),
            upstreams: Box::default(),
        },
        origin: Origin::Store,
        health: Health::Passing,
    }
}

fn service(name: &str) -> Topic {
    Topic::Service(name.to_owned())
}

fn health(name: &str) -> Topic {
    Topic::Health(name.to_owned())
}

fn set<T: Ord, const N: usize>(elements: [T; N]) -> BTreeSet<T> {
    elements.into()
}

#[test]
fn a_topic_has_the_index_of_its_last_change_and_the_floor_before() {
    let mut topics = Topics::new(7);
    let key = |name: &str| ("service-resolver".to_owned(), name.to_owned());

    topics.touch_entries([key("a")], 8);
    topics.touch_entries([key("b")], 9);

    assert_eq!(topics.index(&[Topic::Entry(key("a"))]), 8);
    assert_eq!(topics.index(&[Topic::Entry(key("c"))]), 7);
    assert_eq!(topics.index(&[Topic::Kind("service-resolver".to_owned())]), 9);
    assert_eq!(topics.index(&[Topic::Kind("service-splitter".to_owned())]), 7);
    assert_eq!(topics.index(&[Topic::Entry(key("a")), Topic::Entry(key("b"))]), 9);
}

#[test]
fn a_change_wakes_exactly_who_watches_it() {
    let mut topics = Topics::new(1);
    let mut one = topics.watch(&[service("a")]);
    let mut both = topics.watch(&[service("a"), service("b")]);
    let mut other = topics.watch(&[health("b")]);

    topics.touch([service("b")], 2);

    assert!(one.changed().now_or_never().is_none());
    assert!(both.changed().now_or_never().is_some());
    assert!(other.changed().now_or_never().is_none());
    let mut later = topics.watch(&[service("b")]);
    assert!(later.changed().now_or_never().is_none());
}

#[test]
fn only_what_differs_is_a_change() {
    let mut topics = Topics::new(1);
    let mut instances = [registered("a", "a-1", "v1"), registered("b", "b-1", "v1")].map(Arc::new);
    let all = [Topic::Instances, Topic::Services, Topic::Nodes, service("a"), health("a")];
    let first = topics.compare(None, &instances);
    assert_eq!(first, all.into_iter().chain([service("b"), health("b")]).collect());

    assert_eq!(topics.compare(None, &instances), set([]));
    Arc::make_mut(&mut instances[0]).origin =
        Origin::File { path: "x".into(), position: <_>::default() };
    assert_eq!(topics.compare(None, &instances), set([]));
    Arc::make_mut(&mut instances[0]).health = Health::Critical;
    assert_eq!(topics.compare(None, &instances), set([Topic::Instances, health("a")]));
    Arc::make_mut(&mut instances[0]).instance.port = 81;
    let moved = set([Topic::Instances, service("a"), health("a")]);
    assert_eq!(topics.compare(Some(&set(["b".to_owned()])), &instances), set([]));
    assert_eq!(topics.compare(Some(&set(["a".to_owned()])), &instances), moved);
    Arc::make_mut(&mut instances[1]).instance.tags.push("v2".to_owned());
    let tagged = set([Topic::Instances, Topic::Services, service("b"), health("b")]);
    assert_eq!(topics.compare(None, &instances), tagged);
    let left = topics.compare(None, &instances[..1]);
    assert_eq!(left, tagged.into_iter().chain([Topic::Nodes]).collect());
}

#[test]
fn who_left_is_forgotten_and_many_topics_become_one_floor() {
    let mut topics = Topics::new(1);
    let kept = topics.watch(&[service("kept")]);
    for number in 0..1000 {
        topics.watch(&[service(&number.to_string())]);
    }
    assert!(topics.waiting.len() < 10, "{}", topics.waiting.len());
    drop(kept);

    topics.touch((0..=MAX_TOPICS).map(|number| service(&number.to_string())), 2);

    assert!(topics.changed.is_empty());
    assert_eq!(topics.index(&[service("another")]), 2);
}
