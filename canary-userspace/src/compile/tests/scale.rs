//! What a change costs beside how many other services there are.

use std::time::Duration;

use super::*;
use crate::plan::{Published, Sizes, plan, plan_some};

/// `count` services of twenty instances, two subsets each, compiled and planned.
struct Loaded {
    lab: Lab,
    compiler: Compiler,
    published: Published,
}

fn loaded(count: u16) -> (Loaded, Duration) {
    let mut lab = Lab::default();
    for number in 0..count {
        let name = format!("service-{number:05}");
        for copy in 0..20_u16 {
            let version = if copy < 18 { "2" } else { "3" };
            let [high, low] = number.to_be_bytes();
            lab = lab.instance(&name, copy, version, 0).but(|r| {
                let copy = u8::try_from(copy).unwrap();
                r.instance.address = Some(Ipv4Addr::new(11, high, low, copy).into());
                let vip = SocketAddr::from((Ipv4Addr::new(10, 96, high, low), 80));
                r.instance.tagged_addresses = [("virtual".to_owned(), vip)].into_iter().collect();
            });
        }
        lab = lab
            .resolver(&name, "blue", BLUE_GREEN)
            .splitter(&name, &[(9000, "", "blue"), (1000, "", "green")]);
    }
    let lab = Lab(lab.snapshot());
    let sizes = Sizes { slots: 1 << 26, statistics: 65_000, ..Sizes::default() };
    let (mut published, _) = Published::new(sizes);
    let start = Instant::now();
    let mut compiler = Compiler::new(&lab.0, &Claims::new());
    let cold = start.elapsed();
    plan(&mut published, &compiler.compiled().desired).unwrap();
    compiler.in_force();
    (Loaded { lab, compiler, published }, cold)
}

impl Loaded {
    /// Compiles and plans what the change of `name` means.
    fn change(&mut self, name: &str) -> (usize, Duration) {
        let names = Names::from([name.to_owned()]);
        let start = Instant::now();
        let changed = self.compiler.update(&self.lab.0, &names);
        let desired = &self.compiler.compiled().desired;
        let writes = plan_some(&mut self.published, desired, &changed).unwrap();
        self.compiler.in_force();
        let took = start.elapsed();
        assert_eq!(changed, names, "nothing else depends on it");
        // Grace passes between two changes, and is not theirs to wait for.
        self.published.begin_grace();
        drop(self.published.end_grace());
        (writes.len(), took)
    }

    /// The shortest of some changes of weights, of a subset, of health and of registrations.
    fn shortest(&mut self) -> [Duration; 4] {
        let mut shortest = [Duration::MAX; 4];
        let count = self.lab.0.splitters.len();
        for round in 0..12_u16 {
            let name = format!("service-{:05}", usize::from(round) * 7 % count);
            let mut note = |kind: usize, (_, took): (usize, Duration)| {
                shortest[kind] = shortest[kind].min(took);
            };
            let splitter = Arc::make_mut(self.lab.0.splitters.get_mut(&name).unwrap());
            let splits = &mut splitter.value.splits;
            splits[0].weight -= 1;
            splits[1].weight += 1;
            note(0, self.change(&name));
            let resolver = Arc::make_mut(self.lab.0.resolvers.get_mut(&name).unwrap());
            let resolver = &mut resolver.value;
            let filter = format!("Service.Meta.version == 2 and Service.ID != {round}");
            resolver.subsets.get_mut("blue").unwrap().filter = filter;
            resolver.subsets.get_mut("green").unwrap().filter =
                format!("Service.ID == {name}-{}", round % 9 + 1);
            note(1, self.change(&name));
            let at = self.lab.0.instances.partition_point(|one| one.instance.service < name);
            Arc::make_mut(&mut Arc::make_mut(&mut self.lab.0.instances)[at]).health =
                Health::Critical;
            note(2, self.change(&name));
            Arc::make_mut(&mut self.lab.0.instances).remove(at);
            note(3, self.change(&name));
        }
        shortest
    }
}

#[test]
fn a_change_costs_the_same_beside_ten_times_as_many_services() {
    let few = loaded(60).0.shortest();
    let many = loaded(600).0.shortest();

    println!("weights, a filter, health, a registration: {few:?} beside 60, {many:?} beside 600");
    for (few, many) in few.into_iter().zip(many) {
        // Lookups are logarithmic, and lists of rows move; copying everything would be ten times.
        assert!(many < few * 4 + Duration::from_micros(500), "{few:?} and {many:?}");
    }
}

/// For a release build on a quiet machine: `cargo test --release -- --ignored bars_of --nocapture`.
#[test]
#[ignore = "measures time, which only a release build on a quiet machine says something about"]
fn bars_of_five_thousand_services() {
    let (mut loaded, cold) = loaded(5000);
    let shortest = loaded.shortest();

    println!("from cold {cold:?}; weights, a filter, health, a registration: {shortest:?}");
    assert!(cold < Duration::from_secs(1), "{cold:?}");
    for took in shortest {
        assert!(took < Duration::from_millis(2), "{shortest:?}");
    }
}
