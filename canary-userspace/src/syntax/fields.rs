//! Objects to fields, by the rules of Consul's decoder.
//!
//! A field has its canonical name (`DefaultSubset`) and an alias (`default_subset`); both match
//! in any case. What no field takes is unknown, and an error.

mod remarks;

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Data, Item, Value, weak};
use crate::error::{ConfigError, Position};

pub use remarks::Remarks;

/// A value together with its place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it was written; where its object starts, if it was not.
    pub position: Position,
}

/// An object whose fields are taken one by one.
#[derive(Debug)]
pub struct Fields<'v> {
    path: String,
    position: Position,
    items: Vec<&'v Item>,
}

impl<'v> Fields<'v> {
    /// The fields of `value`; `path` is what messages call it, empty for the whole text.
    ///
    /// # Errors
    ///
    /// If the value is neither an object, nor a list of just one, nor `null`.
    pub fn of(
        value: &'v Value,
        path: impl Into<String>,
        remarks: &mut Remarks,
    ) -> Result<Self, ConfigError> {
        let path = path.into();
        let items = match &value.data {
            Data::Object(items) => items.as_slice(),
            Data::Null => &[],
            Data::List(elements) => match elements.as_slice() {
                [Value { data: Data::Object(items), .. }] => items,
                _ => return Err(not_a_map(value, &path)),
            },
            _ => return Err(not_a_map(value, &path)),
        };
        for item in items.iter().filter(|item| item.replaced) {
            remarks.warn(
                item.position,
                format!("key {:?} is given again: the last one counts", item.key),
            );
        }
        let items = items.iter().filter(|item| !item.replaced).collect();
        Ok(Self { path, position: value.position, items })
    }

    /// Where the object starts.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Where a field that is not taken yet is written; where the object starts, if it is not.
    #[must_use]
    pub fn position_of(&self, canonical: &str, alias: &str) -> Position {
        let named = |item: &&&Item| {
            item.key.eq_ignore_ascii_case(canonical) || item.key.eq_ignore_ascii_case(alias)
        };
        self.items.iter().find(named).map_or(self.position, |item| item.position)
    }

    /// What messages call the field `name` of this object.
    #[must_use]
    pub fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Takes every item of a field; `null` is as good as absent.
    ///
    /// The canonical name wins over the alias, which then stays and is an unknown key.
    pub fn take(&mut self, canonical: &str, alias: &str) -> Vec<&'v Item> {
        let has = |name: &str| self.items.iter().any(|item| item.key.eq_ignore_ascii_case(name));
        let name = if has(canonical) { canonical } else { alias };
        let mut taken = Vec::new();
        self.items.retain(|item| {
            let wanted = item.key.eq_ignore_ascii_case(name);
            if wanted && item.value.data != Data::Null {
                taken.push(*item);
            }
            !wanted
        });
        taken
    }

    /// Takes a field that holds one plain value: the last one of several.
    fn last(&mut self, canonical: &str, alias: &str, remarks: &mut Remarks) -> Option<&'v Value> {
        let items = self.take(canonical, alias);
        let last = items.last()?;
        if items.len() > 1 {
            let text =
                format!("key {:?} is given {} times: the last one counts", last.key, items.len());
            remarks.warn(last.position, text);
        }
        Some(&last.value)
    }

    /// Takes a field and converts it by `read`; absent gives the type's default.
    fn scalar<T: Default>(
        &mut self,
        (canonical, alias): (&str, &str),
        remarks: &mut Remarks,
        read: impl FnOnce(&Value, &str) -> Result<T, ConfigError>,
    ) -> Result<Placed<T>, ConfigError> {
        match self.last(canonical, alias, remarks) {
            Some(value) => {
                let position = value.position;
                Ok(Placed { value: read(value, &self.path_of(canonical))?, position })
            }
            None => Ok(Placed { value: T::default(), position: self.position }),
        }
    }

    /// Takes a string; absent is empty.
    ///
    /// # Errors
    ///
    /// If the value is a list or an object.
    pub fn string(
        &mut self,
        canonical: &str,
        alias: &str,
        remarks: &mut Remarks,
    ) -> Result<Placed<String>, ConfigError> {
        self.scalar((canonical, alias), remarks, weak::string)
    }

    /// Takes a number; absent is 0.
    ///
    /// # Errors
    ///
    /// If the value is no number.
    pub fn number(
        &mut self,
        canonical: &str,
        alias: &str,
        remarks: &mut Remarks,
    ) -> Result<Placed<f64>, ConfigError> {
        self.scalar((canonical, alias), remarks, weak::number)
    }

    /// Takes a whole number; absent is `None`.
    ///
    /// # Errors
    ///
    /// If the value is no whole number.
    pub fn integer(
        &mut self,
        canonical: &str,
        alias: &str,
        remarks: &mut Remarks,
    ) -> Result<Placed<Option<i64>>, ConfigError> {
        self.scalar((canonical, alias), remarks, |value, path| weak::integer(value, path).map(Some))
    }

    /// Takes a duration; absent is `None`.
    ///
    /// # Errors
    ///
    /// If the value is no duration as Go writes it.
    pub fn duration(
        &mut self,
        canonical: &str,
        alias: &str,
        remarks: &mut Remarks,
    ) -> Result<Placed<Option<Duration>>, ConfigError> {
        self.scalar((canonical, alias), remarks, |value, path| {
            weak::duration(value, path).map(Some)
        })
    }

    /// Takes a duration that may be below zero, in nanoseconds; absent is 0.
    ///
    /// # Errors
    ///
    /// If the value is no duration as Go writes it.
    pub fn nanoseconds(
        &mut self,
        canonical: &str,
        alias: &str,
        remarks: &mut Remarks,
    ) -> Result<Placed<i64>, ConfigError> {
        self.scalar((canonical, alias), remarks, weak::nanoseconds)
    }

    /// Takes a count of at most `bits` bits; absent is 0.
    ///
    /// # Errors
    ///
    /// If the value is no whole number, below zero or too big.
    pub fn count(
        &mut self,
        canonical: &str,
        alias: &str,
        bits: u32,
        remarks: &mut Remarks,
    ) -> Result<Placed<u64>, ConfigError> {
        self.scalar((canonical, alias), remarks, |value, path| weak::count(value, path, bits))
    }

    /// Takes a truth; absent is false.
    ///
    /// # Errors
    ///
    /// If the value is no truth by the decoder's rules.
    pub fn boolean(
        &mut self,
        canonical: &str,
        alias: &str,
        remarks: &mut Remarks,
    ) -> Result<Placed<bool>, ConfigError> {
        self.scalar((canonical, alias), remarks, weak::boolean)
    }

    /// Takes the elements of a list field: several lists are joined, a lone value is a list of one.
    pub fn list(&mut self, canonical: &str, alias: &str, remarks: &mut Remarks) -> Vec<&'v Value> {
        let items = self.take(canonical, alias);
        let lists = items.iter().filter(|item| matches!(item.value.data, Data::List(_))).count();
        // Blocks repeat by design; a list that is given twice is more likely a slip.
        if let Some(last) = items.last().filter(|_| items.len() > 1 && lists > 0) {
            let text =
                format!("key {:?} is given {} times: the lists are joined", last.key, items.len());
            remarks.warn(last.position, text);
        }
        let mut elements = Vec::new();
        for item in items {
            match &item.value.data {
                Data::List(list) => elements.extend(list),
                _ => elements.push(&item.value),
            }
        }
        elements
    }

    /// Takes a list of strings.
    ///
    /// # Errors
    ///
    /// If an element is a list or an object.
    pub fn strings(
        &mut self,
        canonical: &str,
        alias: &str,
        remarks: &mut Remarks,
    ) -> Result<Vec<String>, ConfigError> {
        let path = self.path_of(canonical);
        let elements = self.list(canonical, alias, remarks);
        let strings = elements
            .iter()
            .zip(0..)
            .map(|(element, index): (_, usize)| weak::string(element, &format!("{path}[{index}]")));
        strings.collect()
    }

    /// Takes a field whose keys are free: several objects are merged, a repeated inner key is
    /// replaced whole.
    ///
    /// # Errors
    ///
    /// If a value is neither an object nor a list of objects.
    pub fn map(
        &mut self,
        canonical: &str,
        alias: &str,
        remarks: &mut Remarks,
    ) -> Result<BTreeMap<&'v str, &'v Item>, ConfigError> {
        let path = self.path_of(canonical);
        let mut merged = BTreeMap::new();
        for item in self.take(canonical, alias) {
            let objects = match &item.value.data {
                Data::List(elements) => elements.as_slice(),
                _ => std::slice::from_ref(&item.value),
            };
            for object in objects {
                let items = object.items().ok_or_else(|| not_a_map(object, &path))?;
                for item in items {
                    if merged.insert(item.key.as_str(), item).is_some() {
                        let text = format!(
                            "key {:?} of {alias:?} is given again: the last one replaces the others whole",
                            item.key
                        );
                        remarks.warn(item.position, text);
                    }
                }
            }
        }
        Ok(merged)
    }

    /// Takes a map of strings.
    ///
    /// # Errors
    ///
    /// If it is no map, or a value in it no plain one.
    pub fn string_map(
        &mut self,
        canonical: &str,
        alias: &str,
        remarks: &mut Remarks,
    ) -> Result<BTreeMap<String, String>, ConfigError> {
        let path = self.path_of(canonical);
        let map = self.map(canonical, alias, remarks)?;
        let pairs = map.into_iter().map(|(key, item)| {
            Ok((key.to_owned(), weak::string(&item.value, &format!("{path}[{key}]"))?))
        });
        pairs.collect()
    }

    /// Takes a field that is one object.
    ///
    /// # Errors
    ///
    /// If it is given twice, or is no object.
    pub fn object(
        &mut self,
        canonical: &str,
        alias: &str,
        remarks: &mut Remarks,
    ) -> Result<Option<Self>, ConfigError> {
        let path = self.path_of(canonical);
        match self.take(canonical, alias).as_slice() {
            [] => Ok(None),
            [only] => Fields::of(&only.value, path, remarks).map(Some),
            [.., last] => {
                let text = format!("'{path}' expected a map, got 'slice'");
                Err(ConfigError::at(last.position, text))
            }
        }
    }

    /// Takes a field, and tells where it is if it says anything.
    pub fn present(&mut self, canonical: &str, alias: &str) -> Option<Position> {
        let items = self.take(canonical, alias);
        items.iter().find(|item| !says_nothing(&item.value)).map(|item| item.position)
    }

    /// Takes fields that Consul has and this agent does not; those that say anything are refused.
    pub fn refuse(&mut self, names: &[(&str, &str)], remarks: &mut Remarks) {
        for (canonical, alias) in names {
            if let Some(position) = self.present(canonical, alias) {
                remarks.refuse(position, format!("{alias} is not supported yet"));
            }
        }
    }

    /// Whether nothing is left to take.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What is left, as it was written.
    pub fn rest(self) -> impl Iterator<Item = &'v Item> {
        self.items.into_iter()
    }

    /// Remembers what is left as unknown keys.
    pub fn finish(self, remarks: &mut Remarks) {
        for item in &self.items {
            remarks.unknown(item.position, self.path_of(&item.key));
        }
    }
}

/// Whether a field with this value is as good as absent, as it is where Go leaves out zeros.
fn says_nothing(value: &Value) -> bool {
    match &value.data {
        Data::Null | Data::Bool(false) | Data::Integer(0) => true,
        Data::String(text) => text.is_empty(),
        Data::List(elements) => elements.is_empty(),
        _ => false,
    }
}

/// The error where an object should be.
fn not_a_map(value: &Value, path: &str) -> ConfigError {
    ConfigError::at(value.position, format!("'{path}' expected a map, got '{}'", value.kind()))
}
