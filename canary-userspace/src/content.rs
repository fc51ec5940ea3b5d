//! What a file of the configuration directory holds.

use crate::catalog::{self, Instance, LoneCheck};
use crate::entry::{self, Decoded};
use crate::error::{ConfigError, Position};
use crate::syntax::{self, Data, Item, Remarks, Value};

/// The content of a configuration file.
#[derive(Clone, Debug, PartialEq)]
pub enum FileContent {
    /// One config entry.
    Entry(Box<Decoded>),
    /// Services, and checks on their own.
    Services(Services),
    /// An entry of a kind that Consul has and this agent does not use, and what to say of it.
    Skipped(ConfigError),
    /// Several entries, as a JSON list.
    Many(Vec<Self>),
    /// Blanks and comments.
    Nothing,
}

impl FileContent {
    /// The parts one by one: none of them is [`FileContent::Many`].
    #[must_use]
    pub fn parts(self) -> Vec<Self> {
        match self {
            Self::Many(parts) => parts,
            one => vec![one],
        }
    }
}

/// What a file of service definitions defines, each with the place where it starts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Services {
    /// Instances of services.
    pub instances: Vec<(Instance, Position)>,
    /// Checks of the node, and of instances by their ids; maintenance modes are such.
    pub checks: Vec<(LoneCheck, Position)>,
}

/// Reads a file: a config entry, or service and check definitions.
///
/// # Errors
///
/// What is wrong and where; the caller adds the file's name.
pub fn parse_file(text: &[u8]) -> Result<FileContent, ConfigError> {
    of(&syntax::parse_set(text)?)
}

/// What a parsed file holds.
///
/// # Errors
///
/// As [`parse_file`], but for syntax.
pub fn of(root: &Value) -> Result<FileContent, ConfigError> {
    match &root.data {
        Data::List(elements) => {
            elements.iter().map(one).collect::<Result<_, _>>().map(FileContent::Many)
        }
        _ => one(root),
    }
}

fn one(root: &Value) -> Result<FileContent, ConfigError> {
    let items = root.items().unwrap_or_default();
    if root.items().is_some_and(<[Item]>::is_empty) {
        return Ok(FileContent::Nothing);
    }
    if !items.iter().any(is_definition) {
        return match entry::set_aside(root) {
            Some(reason) => Ok(FileContent::Skipped(reason)),
            None => entry::decode(root).map(Box::new).map(FileContent::Entry),
        };
    }
    let mut remarks = Remarks::default();
    let mut services = Services::default();
    for item in items.iter().filter(|item| !item.replaced) {
        if !is_definition(item) {
            remarks.unknown(item.position, &item.key);
            continue;
        }
        for (value, index) in elements(&item.value).iter().zip(0_usize..) {
            let listed = matches!(item.value.data, Data::List(_));
            let path = if listed { format!("{}[{index}]", item.key) } else { item.key.clone() };
            // A block starts at its name, an element of a list at its brace.
            let start = if listed { value.position } else { item.position };
            if is_service(item) {
                let instance = catalog::service(value, &path, &mut remarks)?;
                services.instances.push((instance, start));
            } else if is_maintenance(item) {
                let mode = catalog::maintenance(value, &path, &mut remarks)?;
                services.checks.push((mode, start));
            } else if let Some(check) = catalog::lone_check(value, &path, &mut remarks)? {
                services.checks.push((check, start));
            }
        }
    }
    remarks.settle()?;
    Ok(FileContent::Services(services))
}

/// Whether an item of the top level defines services.
fn is_service(item: &Item) -> bool {
    ["service", "services"].iter().any(|name| item.key.eq_ignore_ascii_case(name))
}

/// Whether an item of the top level defines checks on their own.
fn is_check(item: &Item) -> bool {
    ["check", "checks"].iter().any(|name| item.key.eq_ignore_ascii_case(name))
}

/// Whether an item of the top level defines maintenance modes.
fn is_maintenance(item: &Item) -> bool {
    item.key.eq_ignore_ascii_case("maintenance")
}

/// Whether an item of the top level says that the file is none of config entries.
fn is_definition(item: &Item) -> bool {
    is_service(item) || is_check(item) || is_maintenance(item)
}

/// The elements of a list; any other value is a list of one.
fn elements(value: &Value) -> &[Value] {
    match &value.data {
        Data::List(elements) => elements,
        Data::Null => &[],
        _ => std::slice::from_ref(value),
    }
}
