//! `service checks`: what the checks say.

use clap::Args;
use serde_json::{Map, Value};

use super::client::Client;
use super::console::Console;
use super::failure::Failure;
use super::table::{Column, Table};

/// `service checks`
#[derive(Debug, Args)]
pub struct Checks {
    /// Only checks that count for the instance with this id
    pub id: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Shows checks: of the node, and of instances.
///
/// # Errors
///
/// [`Failure::NotFound`] if nobody has registered the instance.
pub async fn run(
    options: &Checks,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let mut checks: Map<String, Value> = client.get("/v1/agent/checks").await?.ok()?.json()?;
    if let Some(id) = &options.id {
        let services: Map<String, Value> = client.get("/v1/agent/services").await?.ok()?.json()?;
        if !services.contains_key(id) {
            return Err(Failure::NotFound(format!("no instance has the service id {id:?}")));
        }
        checks.retain(|_, check| {
            matches!(text(check, "ServiceID"), "") || text(check, "ServiceID") == id
        });
    }
    if options.json { console.json(&checks) } else { console.raw(&render(&checks)) }
}

fn render(checks: &Map<String, Value>) -> String {
    let heads = ["SERVICE ID", "CHECK", "TYPE", "STATUS", "OUTPUT"];
    let mut table = Table::new(heads.map(Column::left));
    let mut rows: Vec<_> = checks.iter().map(|(id, check)| row(id, check)).collect();
    rows.sort();
    for cells in &rows {
        table.row(cells.each_ref().map(String::as_str));
    }
    table.to_string()
}

fn row(id: &str, check: &Value) -> [String; 5] {
    let service = match text(check, "ServiceID") {
        "" => "(node)",
        service => service,
    };
    // Maintenance has a reason and no output.
    let said = match text(check, "Output") {
        "" => text(check, "Notes"),
        output => output,
    };
    let line = said.lines().next().unwrap_or_default().to_owned();
    [
        service.to_owned(),
        id.to_owned(),
        text(check, "Type").into(),
        text(check, "Status").into(),
        line,
    ]
}

fn text<'c>(check: &'c Value, field: &str) -> &'c str {
    check.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn checks_are_listed_by_instance_with_the_first_line_they_say() {
        let checks = json!({
            "service:web-1": {"ServiceID": "web-1", "Type": "http", "Status": "passing",
                "Output": "HTTP GET http://10.0.0.1/: 200 OK Output: fine\nmore"},
            "_node_maintenance": {"ServiceID": "", "Type": "maintenance", "Status": "critical",
                "Notes": "new disk", "Output": ""},
        });

        let text = render(checks.as_object().unwrap());

        assert_eq!(
            text,
            "SERVICE ID  CHECK              TYPE         STATUS    OUTPUT\n\
             (node)      _node_maintenance  maintenance  critical  new disk\n\
             web-1       service:web-1      http         passing   HTTP GET http://10.0.0.1/: 200 OK Output: fine\n"
        );
    }
}
