//! Types of fields, and the way from a selector to one.

use super::Mistake;
use super::shapes::Shape;

/// The fields of a record, by name.
pub(super) type Fields = [(&'static str, Type)];

/// What a field is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// A text.
    Text,
    /// A whole number.
    Whole,
    /// A whole number that is not negative.
    Natural,
    /// A time: nanoseconds in a filter, `5s` in a document.
    Nanoseconds,
    /// A number of 32 bits with a fraction.
    Real,
    /// `true` or `false`.
    Truth,
    /// A list of texts.
    Words,
    /// A map whose values nothing is known about.
    Names,
    /// A map.
    Map(&'static Self),
    /// A list of records: what is asked of a field of it is asked of each.
    List(&'static Fields),
    /// A record: nothing can be asked of it but of its fields.
    Record(&'static Fields),
}

/// A step from a document towards a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To a field of a record: what a document leaves out has its zero value.
    Field(&'static str),
    /// To the value of a key, which may be absent.
    Key(String),
    /// To every element of a list.
    Each,
}

/// The field that a selector names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The way to it.
    pub(super) steps: Vec<Step>,
    /// What it is.
    pub(super) of: &'static Type,
}

/// Finds the field that `selector` names in documents of `shape`.
///
/// # Errors
///
/// That it names none, with the start of it that does not.
pub(super) fn find(shape: Shape, selector: &[String]) -> Result<Found, Mistake> {
    let mut steps = Vec::with_capacity(selector.len());
    let mut found: Option<&'static Type> = None;
    for (part, len) in selector.iter().zip(1..) {
        let next = match found {
            None => shape.fields().into_iter().find_map(|fields| field(fields, part)),
            Some(Type::Record(fields)) => field(fields, part),
            Some(Type::List(fields)) => {
                steps.push(Step::Each);
                field(fields, part)
            }
            Some(Type::Map(value)) => Some((Step::Key(part.clone()), *value)),
            Some(_) => None,
        };
        let Some((step, of)) = next else {
            return Err(Mistake::selector(shape, selector, len));
        };
        steps.push(step);
        found = Some(of);
    }
    match found {
        Some(of) => Ok(Found { steps, of }),
        None => Err(Mistake::selector(shape, selector, 0)),
    }
}

fn field(fields: &'static Fields, name: &str) -> Option<(Step, &'static Type)> {
    let (name, of) = fields.iter().find(|(known, _)| *known == name)?;
    Some((Step::Field(name), of))
}

/// A selector in the letters that the fields of `shape` have; the rest of one that leads on
/// behind the value of a key is put into that key. `None` where that names nothing either.
pub(super) fn respell(shape: Shape, selector: &[String]) -> Option<Vec<String>> {
    let mut named = Vec::new();
    let mut found: Option<&'static Type> = None;
    for (index, part) in selector.iter().enumerate() {
        let alike = |fields: &'static Fields| {
            let (name, of) = fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(part))?;
            Some(((*name).to_owned(), of))
        };
        let (name, of) = match found {
            None => shape.fields().into_iter().find_map(alike)?,
            Some(Type::Record(fields) | Type::List(fields)) => alike(fields)?,
            Some(Type::Map(Type::Text)) => {
                named.push(selector.get(index..)?.join("."));
                return Some(named);
            }
            Some(Type::Map(value)) => (part.clone(), *value),
            Some(_) => return None,
        };
        named.push(name);
        found = Some(of);
    }
    Some(named)
}
