//! `service register`, `service deregister` and `service list`.

use std::path::Path;

use serde_json::{Map, Value};

use super::args::{DryRun, ServiceList};
use super::client::{Client, escape};
use super::console::Console;
use super::excerpt;
use super::failure::Failure;
use super::table::{Column, Table};
use super::{input, moved};
use crate::catalog::to_definition;
use crate::content::{FileContent, parse_file};
use crate::error::ConfigError;
use crate::filter::{ListFilter, Shape};

/// Registers the instances of a file of service definitions.
///
/// # Errors
///
/// [`Failure::Invalid`] with file, line and column; what was registered before that is told.
pub async fn register(
    file: &Path,
    dry_run: DryRun,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let name = file.display().to_string();
    let bytes = input::load(file)?;
    let paint = console.word_paint;
    let refused = |error: ConfigError| {
        Failure::Invalid(excerpt::with_line(&error.in_file(&name), &bytes, paint))
    };
    let content = parse_file(&bytes).map_err(refused)?;
    let FileContent::Services(services) = content else {
        let text =
            "no service is defined here; config entries are written by `canaryctl config write`";
        return Err(Failure::Invalid(format!("{name}: {text}")));
    };
    if let Some((lone, position)) = services.checks.first() {
        let text = format!(
            "check {:?} is on its own: `service register` registers services",
            lone.check.name
        );
        return Err(ConfigError::at(*position, text).in_file(&name).into());
    }
    for (instance, position) in services.instances {
        let body = to_definition(&instance).to_string();
        let path = format!("/v1/agent/service/register{}", dry_run.query());
        let answer = client.put(&path, body).await?;
        let answer = answer.accepted().map_err(|failure| match failure {
            Failure::Invalid(text) => refused(ConfigError::at(position, text)),
            other => other,
        })?;
        let which = format!("{} ({})", instance.service, instance.id);
        if dry_run.wanted {
            console.data(format_args!("Would register service: {which}"))?;
            moved::print_aside(&answer, console)?;
            continue;
        }
        console.data(format_args!("Registered service: {which}"))?;
        console.warn(&answer.warnings)?;
    }
    Ok(())
}

/// Deregisters an instance.
///
/// # Errors
///
/// [`Failure`]
pub async fn deregister(
    id: &str,
    dry_run: DryRun,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let path = format!("/v1/agent/service/deregister/{}{}", escape(id), dry_run.query());
    let answer = client.put(&path, String::new()).await?.accepted()?;
    if dry_run.wanted {
        console.data(format_args!("Would deregister service: {id}"))?;
        return moved::print_aside(&answer, console);
    }
    console.data(format_args!("Deregistered service: {id}"))?;
    console.warn(&answer.warnings)
}

/// Lists the registered instances.
///
/// # Errors
///
/// [`Failure`]
pub async fn list(
    options: &ServiceList,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let mut path = "/v1/agent/services".to_owned();
    if let Some(filter) = &options.filter {
        // The agent says the same, but not what may have been meant.
        ListFilter::parse(filter, Shape::Service)
            .map_err(|error| Failure::Usage(format!("--filter: {error}")))?;
        path = format!("{path}?filter={}", escape(filter));
    }
    let services: Map<String, Value> = client.get(&path).await?.ok()?.json()?;
    if options.json {
        return console.json(&services);
    }
    let checks: Vec<Value> = client.get("/v1/health/state/any").await?.ok()?.json()?;
    console.raw(&render(&services, &checks))
}

fn render(services: &Map<String, Value>, checks: &[Value]) -> String {
    let row = |(id, service): (&String, &Value)| row(id, service, health(id, checks));
    let mut rows: Vec<_> = services.iter().map(row).collect();
    rows.sort();
    let heads = ["SERVICE", "ID", "ADDRESS", "HEALTH", "TAGS", "META"];
    let mut table = Table::new(heads.map(Column::left));
    for cells in &rows {
        table.row(cells.each_ref().map(String::as_str));
    }
    table.to_string()
}

/// The worst of an instance's checks and of its node's; one without checks is well.
fn health(id: &str, checks: &[Value]) -> &'static str {
    let text = |check: &Value, key: &str| {
        check.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let has = |wanted: &str| {
        checks.iter().any(|check| {
            let of = text(check, "ServiceID");
            (of.is_empty() || of == id) && text(check, "Status") == wanted
        })
    };
    ["critical", "warning"].into_iter().find(|state| has(state)).unwrap_or("passing")
}

fn row(id: &str, service: &Value, health: &str) -> [String; 6] {
    let text = |key: &str| service.get(key).and_then(Value::as_str).unwrap_or_default();
    let port = service.get("Port").and_then(Value::as_u64).unwrap_or_default();
    let address = text("Address");
    let address = if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    };
    let tags = service.get("Tags").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let tags: Vec<_> = tags.iter().filter_map(Value::as_str).collect();
    let meta = service.get("Meta").and_then(Value::as_object);
    let meta: Vec<_> = meta
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    [
        text("Service").to_owned(),
        id.to_owned(),
        address,
        health.to_owned(),
        tags.join(","),
        meta.join(","),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn instances_are_listed_by_service_and_id() {
        let services = json!({
            "web-1": {"ID": "web-1", "Service": "web", "Address": "fd00::1", "Port": 80, "Tags": null, "Meta": null},
            "pay-2": {"ID": "pay-2", "Service": "payments", "Address": "10.0.0.2", "Port": 8080,
                "Tags": ["v3", "canary"], "Meta": {"version": "3"}},
        });

        let checks = [
            json!({"ServiceID": "pay-2", "Status": "passing"}),
            json!({"ServiceID": "web-1", "Status": "warning"}),
            json!({"ServiceID": "web-1", "Status": "critical"}),
            json!({"ServiceID": "gone", "Status": "critical"}),
        ];

        let text = render(services.as_object().unwrap(), &checks);

        assert_eq!(
            text,
            "SERVICE   ID     ADDRESS        HEALTH    TAGS       META\n\
             payments  pay-2  10.0.0.2:8080  passing   v3,canary  version=3\n\
             web       web-1  [fd00::1]:80   critical\n"
        );
    }
}
