//! A service's chain: splitters on the way, and where each split leads.

use crate::ctl::frontend;
use crate::ctl::paint::Paint;
use crate::document::explain::{Explain, Next, Target, Written};

/// Facts of the service, then its chain as a tree.
pub(super) fn lines(explain: &Explain, paint: Paint) -> Vec<String> {
    let frontends: Vec<_> = explain.frontends.iter().map(frontend::line).collect();
    let frontends = if frontends.is_empty() {
        "no virtual address: nothing connects to it".to_owned()
    } else {
        frontends.join("  ")
    };
    let empty = match explain.on_empty.as_str() {
        "redistribute" => "the others take its share",
        _ => "its share is refused",
    };
    let affinity = match explain.affinity.as_str() {
        "source_ip" => "each client keeps its backend",
        _ => "each connection by itself",
    };
    let mut lines = vec![
        format!("Service:     {}  {frontends}", paint.bold(&explain.service)),
        format!("Backends:    {}, {affinity}", explain.policy),
        format!("When empty:  {empty}"),
        format!("Revision:    {}", explain.revision),
        String::new(),
    ];
    if let Some(error) = &explain.error {
        lines.push(paint.red(format_args!("✖ {error}")));
    }
    lines.push(paint.bold(&explain.service));
    let mut tree = Tree { explain, paint, way: Vec::new(), lines };
    if explain.splitters.iter().any(|splitter| splitter.service == explain.service) {
        tree.splitter(&explain.service, "");
    } else {
        tree.leaves();
    }
    tree.lines.push(String::new());
    tree.lines
}

/// A tree that is being drawn.
struct Tree<'a> {
    explain: &'a Explain,
    paint: Paint,
    /// Splitters from the root to here: a circle is drawn once round.
    way: Vec<&'a str>,
    lines: Vec<String>,
}

impl<'a> Tree<'a> {
    fn splitter(&mut self, service: &'a str, indent: &str) {
        let found = self.explain.splitters.iter().find(|splitter| splitter.service == service);
        let Some(splitter) = found else { return };
        self.way.push(service);
        let mut splits = splitter.splits.iter().peekable();
        while let Some(split) = splits.next() {
            let last = splits.peek().is_none();
            let (branch, deeper) = if last { ("└─", "   ") } else { ("├─", "│  ") };
            let (name, note) = (written(service, split), self.leads_to(service, split));
            self.lines.push(format!("{indent}{branch} {:>6.2} %  {name}{note}", split.weight));
            if let Next::Splitter(next) = &split.next
                && !self.way.contains(&next.as_str())
            {
                self.splitter(next, &format!("{indent}{deeper}"));
            }
        }
        self.way.pop();
    }

    /// What a split leads to, where that is not what it names.
    fn leads_to(&self, service: &str, split: &Written) -> String {
        match &split.next {
            Next::Splitter(next) if self.way.contains(&next.as_str()) => {
                self.paint.red(format_args!("  back to the splitter of {next}"))
            }
            Next::Splitter(_) => self.paint.faint("  splitter"),
            Next::Target(target) => {
                let (meant, named) = (name(service, target), written(service, split));
                if meant == named {
                    String::new()
                } else {
                    self.paint.faint(format_args!("  -> {meant}"))
                }
            }
        }
    }

    /// Without a splitter: everything goes one way.
    fn leaves(&mut self) {
        for leaf in &self.explain.leaves {
            let target = Target { service: leaf.service.clone(), subset: leaf.subset.clone() };
            let name = name(&self.explain.service, &target);
            self.lines.push(format!("└─ {:>6.2} %  {name}", leaf.weight));
        }
    }
}

/// What a split names.
fn written(service: &str, split: &Written) -> String {
    let target = Target { service: split.service.clone(), subset: split.subset.clone() };
    name(service, &target)
}

/// A target as seen from `service`.
pub(super) fn name(service: &str, target: &Target) -> String {
    match (target.service == service, target.subset.as_str()) {
        (true, "") => "(all)".to_owned(),
        (true, subset) => subset.to_owned(),
        (false, "") => target.service.clone(),
        (false, subset) => format!("{}/{subset}", target.service),
    }
}
