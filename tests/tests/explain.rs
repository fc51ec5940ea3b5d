//! `explain` of a flow, against where the kernel really sent it.

use std::net::SocketAddr;

use anyhow::Result;
use canary_tests::{
    lab::Lab,
    scenario::{HOLD, Scenario, Subset, TIMEOUT},
    workload::client::greet,
};
use canary_userspace::document::flow::ExplainFlow;

/// Connections that are compared.
const FLOWS: usize = 60;

#[test]
fn what_is_explained_is_where_the_kernel_sent_the_flow() -> Result<()> {
    Lab::run("explain", |lab| {
        let subsets = [Subset { name: "blue", pods: 3 }, Subset { name: "green", pods: 2 }];
        let scenario = Scenario::start(lab, &subsets)?;
        scenario.split(HOLD.service, &[("blue", 60.0), ("green", 40.0)])?;
        let frontend = HOLD.frontend();
        let explain = |client: SocketAddr| -> Result<ExplainFlow> {
            lab.ctl_json(&["explain", &client.to_string(), &frontend.to_string()])
        };

        let mut green = 0;
        for _ in 0..FLOWS {
            let (stream, name) = scenario.client.namespace.enter(|| greet(frontend, TIMEOUT))??;
            let client = stream.local_addr()?;
            let pod = scenario.backends.iter().find(|backend| name == backend.pod.name).unwrap();
            let served = HOLD.backend(&pod.pod).unwrap().to_string();

            let flow = explain(client)?;

            assert_eq!(flow.service, HOLD.service);
            assert_eq!(flow.backend.as_ref(), Some(&served), "drawn: {flow:?}");
            let known = flow.known.unwrap();
            assert_eq!(known.backend, Some(served), "{known:?}");
            assert!(["opening", "established"].contains(&known.state.as_str()), "{known:?}");
            let drawn = flow.splits.iter().find(|split| split.drawn).unwrap();
            assert_eq!((&drawn.service, &drawn.subset), (&known.service, &known.subset));
            assert!(name.starts_with(&drawn.subset), "{name} {drawn:?}");
            green += usize::from(drawn.subset == "green");
        }
        assert!((1..FLOWS).contains(&green), "both subsets were asked, green {green} times");

        // Whatever is drawn later, a flow that lives keeps its backend, and explain says both.
        let (stream, name) = scenario.client.namespace.enter(|| greet(frontend, TIMEOUT))??;
        let other = if name.starts_with("blue") { "green" } else { "blue" };
        let weights = [("blue", other == "blue"), ("green", other == "green")]
            .map(|(subset, all)| format!("{subset}={}", if all { 100 } else { 0 }));
        lab.set_split(HOLD.service, &weights.each_ref().map(String::as_str))?;
        let flow = explain(stream.local_addr()?)?;
        assert!(name.starts_with(&flow.known.unwrap().subset));
        assert_eq!(flow.splits.iter().find(|split| split.drawn).unwrap().subset, other);
        Ok(())
    })
}
