//! Each leaf of a chain: who serves it, at which level, and who does not, and why.

use crate::ctl::paint::{Paint, harmless};
use crate::ctl::table::{Column, Table};
use crate::document::explain::{Instance, Leaf, Level};

/// Members of a level, and others beside them, that are shown unless all are wanted.
const SHOWN: [usize; 2] = [50, 10];

/// Each leaf with its levels and their instances; all instances share their columns.
pub(super) fn lines(leaves: &[Leaf], all: bool, paint: Paint) -> Vec<String> {
    let mut table = Table::new(
        ["", "INSTANCE", "ADDRESS", "NODE", "HEALTH", "WEIGHT", "WHY"]
            .map(|head| if head == "WEIGHT" { Column::right(head) } else { Column::left(head) }),
    );
    // What stands before and after the rows of each level.
    let mut blocks = Vec::new();
    for leaf in leaves {
        let mut titles = vec![leaf_title(leaf, paint)];
        for level in &leaf.levels {
            titles.push(level_title(level, paint));
            let (members, others): (Vec<_>, Vec<_>) =
                level.instances.iter().partition(|instance| instance.member);
            let mut rows = Vec::new();
            let mut after = Vec::new();
            for ((among, limit), what) in
                [members, others].into_iter().zip(SHOWN).zip(["in it", "not in it"])
            {
                let limit = if all { usize::MAX } else { limit };
                rows.extend(among.iter().take(limit).copied());
                let more = among.len().saturating_sub(limit);
                if more > 0 {
                    after.push(format!("      … {more} more {what}: --all shows them"));
                }
            }
            for instance in &rows {
                table.row(cells(instance).each_ref().map(String::as_str));
            }
            blocks.push((std::mem::take(&mut titles), rows, after));
        }
        if leaf.levels.is_empty() {
            blocks.push((titles, Vec::new(), Vec::new()));
        }
    }
    let mut rows = table.lines().into_iter();
    let head = rows.next().unwrap_or_default();
    let mut lines = Vec::new();
    if blocks.iter().any(|(_, rows, _)| !rows.is_empty()) {
        lines.push(paint.bold(format_args!("    {head}")));
    }
    for (titles, instances, after) in blocks {
        lines.extend(titles);
        for (instance, row) in instances.into_iter().zip(rows.by_ref()) {
            lines.push(match (instance.member, takes(instance)) {
                (false, _) => paint.faint(format_args!("    {row}")),
                (true, true) => format!("    {row}"),
                (true, false) => paint.red(format_args!("    {row}")),
            });
        }
        lines.extend(after);
    }
    lines
}

fn leaf_title(leaf: &Leaf, paint: Paint) -> String {
    let name = target(&leaf.service, &leaf.subset);
    let mark = if leaf.refused { paint.red('✖') } else { paint.green('✔') };
    let share = if (leaf.share - leaf.weight).abs() < 0.005 {
        format!("{:.2} %", leaf.weight)
    } else {
        format!("{:.2} %, gets {:.2} % of new connections", leaf.weight, leaf.share)
    };
    let refused = if leaf.refused {
        paint.red("  refused: nobody is healthy at any level")
    } else {
        String::new()
    };
    format!("{mark} {}  {share}{refused}", paint.bold(name))
}

fn level_title(level: &Level, paint: Paint) -> String {
    let name = target(&level.service, &level.subset);
    let members = || level.instances.iter().filter(|instance| instance.member);
    let healthy = members().filter(|instance| instance.healthy).count();
    let nowhere = members().filter(|instance| instance.address.is_none()).count();
    let nowhere = if nowhere > 0 { format!(", {nowhere} without address") } else { String::new() };
    let what = match level.priority {
        0 => "own instances".to_owned(),
        priority => format!("failover {priority}: {name}"),
    };
    let used = if level.in_use { ", in use" } else { "" };
    let filter = match (level.filter.as_str(), &level.filter_error) {
        (filter, Some(error)) => paint.red(format_args!("  filter {filter}: {error}")),
        ("", None) => String::new(),
        (filter, None) => paint.faint(format_args!("  filter {filter}")),
    };
    let passing = if level.only_passing { ", only passing ones" } else { "" };
    format!("  {what}: {healthy} of {} healthy{nowhere}{passing}{used}{filter}", members().count())
}

fn target(service: &str, subset: &str) -> String {
    if subset.is_empty() { service.to_owned() } else { format!("{service}/{subset}") }
}

/// Whether connections can go to it.
const fn takes(instance: &Instance) -> bool {
    instance.healthy && instance.address.is_some()
}

fn cells(instance: &Instance) -> [String; 7] {
    let mark = match (instance.member, takes(instance)) {
        (false, _) => "-",
        (true, true) => "✔",
        (true, false) => "✖",
    };
    let checks = instance.checks.iter().map(|check| {
        let of = if check.of_node { "node check" } else { "check" };
        let output = harmless(&check.output);
        let colon = if output.is_empty() { "" } else { ": " };
        format!("{of} {:?} is {}{colon}{output}", check.name, check.status)
    });
    let why = Some(instance.why.clone()).filter(|why| !why.is_empty());
    let nowhere = "it has no address: nothing can be sent to it".to_owned();
    let nowhere = instance.address.is_none().then_some(nowhere);
    let why: Vec<_> = why.into_iter().chain(nowhere).chain(checks).collect();
    [
        mark.to_owned(),
        instance.id.clone(),
        instance.address.clone().unwrap_or_else(|| "none".to_owned()),
        instance.node.clone(),
        instance.health.clone(),
        instance.weight.to_string(),
        why.join("; "),
    ]
}
