//! `doctor`: whether this node can run the agent, and what would help.

use serde::Serialize;

use super::args;
use super::client::Client;
use super::console::Console;
use super::failure::Failure;
use super::status;
use crate::document::Status;
use crate::kernel::doctor::{Finding, Scope, Verdict, examine};

/// The report as a document.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    failures: usize,
    warnings: usize,
    checks: &'a [Finding],
}

/// Examines the node and prints the report.
///
/// # Errors
///
/// [`Failure::Error`] if a check failed; warnings are no failure.
pub async fn run(
    options: &args::Doctor,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let scope = Scope {
        pod_globs: &options.pod_interface,
        uplink_globs: &options.uplink_interface,
        netns_dirs: &options.netns_dir,
        bpffs: &options.bpffs,
    };
    let mut findings = examine(&scope);
    findings.push(agent(client).await);
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (failures, warnings) = (count(Verdict::Fail), count(Verdict::Warn));
    if options.json {
        console.json(&Report { ok: failures == 0, failures, warnings, checks: &findings })?;
    } else {
        console.raw(&render(&findings))?;
    }
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let sum =
        format!("{failures} failure{}, {warnings} warning{}", plural(failures), plural(warnings));
    if failures > 0 { Err(Failure::Error(sum)) } else { console.say(sum) }
}

/// Nothing here needs an agent, but if one runs its own troubles belong to the picture.
async fn agent(client: &Client) -> Finding {
    let answer = async { client.get(status::PATH).await?.ok()?.json::<Status>() }.await;
    let (verdict, text) = match answer {
        Ok(status) if !status.ready => (Verdict::Warn, "runs and is not ready".to_owned()),
        Ok(Status { source, .. }) if !source.ok => {
            let error = source.error.unwrap_or_default();
            let text =
                format!("its {} are not well for {} s: {error}", source.kind, source.stale_seconds);
            (Verdict::Warn, text)
        }
        Ok(status) => match status.warnings.first() {
            Some(warning) => {
                (Verdict::Warn, format!("{} ready; it warns: {}", status.version, warning.text))
            }
            None => {
                (Verdict::Pass, format!("{} ready, revision {}", status.version, status.revision))
            }
        },
        Err(Failure::Unreachable { address, cause }) => {
            (Verdict::Pass, format!("none at {address}: {cause}"))
        }
        Err(failure) => (Verdict::Warn, failure.to_string()),
    };
    Finding { group: "agent", check: "agent", verdict, text, hint: None }
}

fn render(findings: &[Finding]) -> String {
    let mut lines = Vec::new();
    let mut group = "";
    for finding in findings {
        if finding.group != group {
            group = finding.group;
            lines.push(group.to_owned());
        }
        let mark = match finding.verdict {
            Verdict::Pass => '√',
            Verdict::Warn => '‼',
            Verdict::Fail => '×',
        };
        lines.push(format!("{mark} {}: {}", finding.check, finding.text));
        lines.extend(finding.hint.iter().map(|hint| format!("    {hint}")));
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_grouped_and_marked() {
        let finding = |group, check, verdict, hint: Option<&str>| Finding {
            group,
            check,
            verdict,
            text: "text".to_owned(),
            hint: hint.map(str::to_owned),
        };

        let text = render(&[
            finding("kernel", "version", Verdict::Pass, None),
            finding("kernel", "jit", Verdict::Warn, Some("sysctl it")),
            finding("network", "bridge", Verdict::Fail, None),
        ]);

        assert_eq!(
            text,
            "kernel\n√ version: text\n‼ jit: text\n    sysctl it\nnetwork\n× bridge: text\n"
        );
    }
}
