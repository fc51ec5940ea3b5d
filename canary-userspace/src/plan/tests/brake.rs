use super::*;

#[test]
fn a_found_service_is_braked_by_two_stores_that_later_agents_read() {
    let services =
        || vec![payments(9000), service("web", &[11], vec![split("web", "", 10_000, &[4])])];
    let (mut lab, _) = published(SMALL, services());
    let (mut adopted, swept) = lab.adopt();
    lab.apply_all(&swept);
    let key = |subset: &str| split("payments", subset, 0, &[]).key;
    let shares = |published: &Published| published.found_shares("payments").unwrap();
    assert_eq!(shares(&adopted), [(key("blue"), 9000), (key("green"), 1000)]);
    assert_eq!(adopted.found_shares("nothing"), None);
    assert_eq!(adopted.braked(), []);
    assert_eq!(brake(&mut adopted, "payments", &key("red")).unwrap(), []);
    let writes = brake(&mut adopted, "payments", &key("green")).unwrap();

    let kinds = |write: &Write| matches!(write, Write::Record { .. } | Write::Current { .. });
    assert!(writes.len() == 2 && writes.iter().all(kinds), "{writes:?}");
    let before = lab.answer(vip(10)).unwrap();
    lab.apply_all(&writes[..1]);
    assert_eq!(lab.answer(vip(10)).unwrap(), before);
    lab.apply_all(&writes[1..]);
    let to_green = Some((key("green"), Some(pod(3))));
    assert!(lab.answer(vip(10)).unwrap().iter().all(|answer| *answer == to_green));
    assert_eq!(shares(&adopted), [(key("green"), 10_000)]);
    let (mut later, swept) = lab.adopt();
    lab.apply_all(&swept);
    assert_eq!(later.braked(), [("payments".to_owned(), key("green"))]);
    assert_eq!(shares(&later), [(key("green"), 10_000)]);

    // The next agent writes what is wanted, which ends the mark.
    lab.grace(&mut later);
    lab.apply_all(&plan(&mut later, &desired(services())).unwrap());
    assert_eq!(later.braked(), []);
}
