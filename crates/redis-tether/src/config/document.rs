//! What stands in a file, before any of it is understood. Read whole, by whatever format the application uses, so that
//! every mistake is found and told by us: serde's own errors quote the text they stumble over, and where a URL stands in
//! place of a number or a section, that text has a password in it. Nothing here knows a setting.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::error::ConfigError;

/// A value of a file. Has no `Debug`: it holds the password among the rest.
#[derive(PartialEq, Eq)]
pub(super) enum Document {
    Nothing,
    Truth(bool),
    Whole(i128),
    Text(String),
    /// In the order of the file. A name that is not text has become an empty one.
    Table(Vec<(String, Document)>),
    List(Vec<Document>),
    /// What no setting is made of: only its kind is kept.
    Other(&'static str),
}

impl Document {
    /// The text of a setting that is text.
    pub(super) fn into_text(self, field: &'static str) -> Result<String, ConfigError> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(other.refused(field, "text: write it in quotes")),
        }
    }

    /// The text of a setting that may be left empty.
    pub(super) fn into_optional_text(self, field: &'static str) -> Result<Option<String>, ConfigError> {
        match self {
            Self::Nothing => Ok(None),
            given => given.into_text(field).map(Some),
        }
    }

    /// What a number, a word or a duration says: the environment has numbers as text, too, and some formats have words that
    /// are numbers.
    pub(super) fn into_plain(self, field: &'static str, expected: &str) -> Result<String, ConfigError> {
        match self {
            Self::Whole(number) => Ok(number.to_string()),
            Self::Text(text) => Ok(text),
            other => Err(other.refused(field, expected)),
        }
    }

    /// Why this is not what belongs here: by its kind, never by what it says.
    pub(super) fn refused(&self, field: &'static str, expected: impl Into<String>) -> ConfigError {
        ConfigError::Unreadable { field, value: self.kind().to_owned(), expected: expected.into() }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Nothing => "empty",
            Self::Truth(_) => "true or false",
            Self::Whole(_) => "a number",
            Self::Text(_) => "text (which is not repeated here, since it may hold a secret)",
            Self::Table(_) => "a table",
            Self::List(_) => "a list",
            Self::Other(kind) => kind,
        }
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Asked for one kind of value, some formats make the error about another one themselves, and quote.
        deserializer.deserialize_any(DocumentVisitor)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a configuration")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Document, E> {
        Ok(Document::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Document, E> {
        Ok(Document::Text(text))
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Document, E> {
        Ok(Document::Other("bytes"))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Document, E> {
        Ok(Document::Whole(number.into()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Document, E> {
        Ok(Document::Whole(number.into()))
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Document, E> {
        Ok(Document::Whole(number))
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Document, E> {
        Ok(i128::try_from(number).map_or(Document::Other("a number"), Document::Whole))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Document, E> {
        Ok(Document::Other("a number with a point"))
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Document, E> {
        Ok(Document::Truth(truth))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Document, E> {
        Ok(Document::Nothing)
    }

    fn visit_none<E: de::Error>(self) -> Result<Document, E> {
        Ok(Document::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Document, D::Error> {
        Document::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Document, D::Error> {
        Document::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Document, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            elements.push(element);
        }
        Ok(Document::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        let mut entries = Vec::new();
        while let Some((name, value)) = map.next_entry::<Document, Document>()? {
            let name = match name {
                Document::Text(name) => name,
                _ => String::new(),
            };
            entries.push((name, value));
        }
        Ok(exact_number(&entries).unwrap_or(Document::Table(entries)))
    }
}

/// With its feature `arbitrary_precision`, which any crate of a build may switch on, serde_json hands numbers over as a table
/// of this one entry.
const EXACT_NUMBER: &str = "$serde_json::private::Number";

fn exact_number(entries: &[(String, Document)]) -> Option<Document> {
    match entries {
        [(name, Document::Text(digits))] if name == EXACT_NUMBER => {
            Some(digits.parse().map_or(Document::Other("a number"), Document::Whole))
        }
        _ => None,
    }
}
