//! Types read from a tree by serde: [`NodeRef::read`]. An error says where its value is and at
//! which path; a field that no type took can be noted.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::{self, Display};
use std::iter::Enumerate;
use std::slice;

use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Number;

use super::error::{Error, Problem};
use super::place::Place;
use super::placed::{PLACED, SKIP};
use super::plain;
use super::tree::{KeyValue, Node, NodeRef, Value, lower_camel_case};

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// In any way that can be understood: a text may be written as a number, a number as a text.
    Plain,
    /// As Kubernetes takes them: a text that looks like a number is in quotes, and null is the same
    /// as an absent field.
    Kubernetes,
    /// As protobuf's JSON takes them, within Kubernetes: names of fields in `lowerCamelCase` or in
    /// `snake_case`, numbers also in quotes.
    Protobuf,
}

/// A field that no type took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Its path in the document.
    pub path: String,
    /// Where its name is.
    pub place: Place,
}

impl<'d> NodeRef<'d> {
    /// Reads a value of a type.
    ///
    /// # Errors
    /// It is not one.
    pub fn read<T: de::Deserialize<'d>>(self, dialect: Dialect) -> Result<T, Error> {
        T::deserialize(ValueReader { node: self, path: ValuePath::Base(""), dialect, unread: None })
    }

    /// As [`Self::read`], of a value at this path of its document; fields that no type takes are
    /// added to `unread`. A null is none of them.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_at<T: de::Deserialize<'d>>(
        self,
        path: &str,
        dialect: Dialect,
        unread: Option<&mut Vec<Unread>>,
    ) -> Result<T, Error> {
        let noted = RefCell::new(Vec::new());
        let note = unread.is_some().then_some(&noted);
        let read =
            T::deserialize(ValueReader { node: self, path: ValuePath::Base(path), dialect, unread: note });
        if let Some(unread) = unread {
            unread.append(&mut noted.into_inner());
        }
        read
    }
}

/// The way from the document to a value; each step is on the stack of the one that takes it.
#[derive(Clone, Copy)]
enum ValuePath<'p> {
    Base(&'p str),
    Field(&'p ValuePath<'p>, &'p str),
    Item(&'p ValuePath<'p>, usize),
}

impl Display for ValuePath<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base(path) => formatter.write_str(path),
            Self::Field(Self::Base(""), name) => formatter.write_str(name),
            Self::Field(parent, name) => write!(formatter, "{parent}.{name}"),
            Self::Item(parent, index) => write!(formatter, "{parent}[{index}]"),
        }
    }
}

/// Reads one value.
#[derive(Clone, Copy)]
struct ValueReader<'d, 'p> {
    node: NodeRef<'d>,
    path: ValuePath<'p>,
    dialect: Dialect,
    unread: Option<&'p RefCell<Vec<Unread>>>,
}

impl<'d> ValueReader<'d, '_> {
    /// Says of an error without a place that it is about this value.
    fn about(&self, error: Error) -> Error {
        error.about(|| (self.node.place_of_value(), self.path.to_string(), self.node.in_words()))
    }

    /// The error of a value that is not what a visitor, or in its place `words`, expects. A visitor
    /// of a type that speaks for itself expects something else than serde's own of the primitive.
    fn unexpected<'v, V: Visitor<'v>>(&self, visitor: &V, primitive: &str, words: &str) -> Error {
        let expected = (visitor as &dyn Expected).to_string();
        let expected = if expected == primitive { words.to_owned() } else { expected };
        self.about(Error::unplaced(Problem::Unexpected { expected, found: String::new() }))
    }

    fn is_scalar(&self) -> bool {
        matches!(self.node.value, Value::Boolean(_) | Value::Number(_) | Value::Text(_))
    }

    /// Reads a number, which may be written as a text where the dialect has it so.
    fn number<V: Visitor<'d>>(
        self,
        visitor: V,
        primitive: &str,
        words: impl FnOnce() -> String,
    ) -> Result<V::Value, Error> {
        let number = match self.node.value {
            Value::Number(number) => Some(Cow::Borrowed(number)),
            Value::Text(piece) if self.dialect != Dialect::Kubernetes => {
                plain::number(piece.of(&self.node.text.text)).map(Cow::Owned)
            }
            _ => None,
        };
        let Some(number) = number else { return Err(self.unexpected(&visitor, primitive, &words())) };
        visit_number(&number, visitor).map_err(|error| self.about(error.instead(primitive, words)))
    }

    /// Shows a visitor the fields of a mapping; it has to take all of them.
    fn visit_fields<V: Visitor<'d>>(self, visitor: V, skips_nulls: bool) -> Result<V::Value, Error> {
        let entries = match self.node.value {
            Value::Mapping(entries) => &**entries,
            _ => &[],
        };
        let mut fields = FieldAccess { mapping: &self, entries: entries.iter(), skips_nulls, value: None };
        let read = visitor.visit_map(&mut fields).map_err(|error| self.about(error))?;
        match fields.next() {
            Some(more) => Err(self.one_too_many(more.place_of_key())),
            None => Ok(read),
        }
    }

    /// The error that a list or a mapping has more in it than a type takes.
    fn one_too_many(&self, place: Place) -> Error {
        let problem = Problem::Other("there is one value too many".to_owned());
        Error::unplaced(problem).about(|| (place, self.path.to_string(), String::new()))
    }
}

fn visit_number<'d, V: Visitor<'d>>(number: &Number, visitor: V) -> Result<V::Value, Error> {
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(number), ..) => visitor.visit_u64(number),
        (None, Some(number), _) => visitor.visit_i64(number),
        (None, None, float) => visitor.visit_f64(float.unwrap_or_default()),
    }
}

macro_rules! whole_numbers {
    ($($method:ident: $type:ident,)*) => {
        $(
            fn $method<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
                let words = || format!("a whole number from {} to {}", $type::MIN, $type::MAX);
                self.number(visitor, stringify!($type), words)
            }
        )*
    };
}

impl<'d> Deserializer<'d> for ValueReader<'d, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        let read = match self.node.value {
            Value::Null | Value::Shared(_) => visitor.visit_unit(),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Number(number) => visit_number(number, visitor),
            Value::Text(piece) => visitor.visit_borrowed_str(piece.of(&self.node.text.text)),
            Value::Sequence(_) => return self.deserialize_seq(visitor),
            Value::Mapping(_) => return self.visit_fields(visitor, false),
        };
        read.map_err(|error| self.about(error))
    }

    fn deserialize_bool<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.value {
            Value::Boolean(value) => visitor.visit_bool(*value).map_err(|error: Error| self.about(error)),
            _ => Err(self.unexpected(&visitor, "a boolean", "true or false, without quotes")),
        }
    }

    whole_numbers! {
        deserialize_i8: i8,
        deserialize_i16: i16,
        deserialize_i32: i32,
        deserialize_i64: i64,
        deserialize_u8: u8,
        deserialize_u16: u16,
        deserialize_u32: u32,
        deserialize_u64: u64,
        deserialize_i128: i128,
        deserialize_u128: u128,
    }

    fn deserialize_f32<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        self.number(visitor, "f32", || "a number".to_owned())
    }

    fn deserialize_f64<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        self.number(visitor, "f64", || "a number".to_owned())
    }

    fn deserialize_str<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        let read = match self.node.value {
            Value::Text(piece) => visitor.visit_borrowed_str(piece.of(&self.node.text.text)),
            Value::Boolean(_) | Value::Number(_) if self.dialect == Dialect::Plain => {
                visitor.visit_borrowed_str(self.node.source())
            }
            _ if self.is_scalar() => {
                return Err(self.unexpected(&visitor, "a string", "a string (put the value in quotes)"));
            }
            _ => return Err(self.unexpected(&visitor, "a string", "a string")),
        };
        read.map_err(|error: Error| self.about(error))
    }

    fn deserialize_string<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'d>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self).map_err(|error| self.about(error))
    }

    fn deserialize_unit_struct<V: Visitor<'d>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == SKIP { visitor.visit_unit() } else { self.deserialize_any(visitor) }
    }

    fn deserialize_seq<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        let Value::Sequence(items) = self.node.value else {
            return Err(self.unexpected(&visitor, "a sequence", "a list"));
        };
        let mut items = ItemAccess { list: &self, items: items.iter().enumerate() };
        let read = visitor.visit_seq(&mut items).map_err(|error| self.about(error))?;
        match items.items.next() {
            Some((_, more)) => {
                Err(self.one_too_many(NodeRef::new(self.node.text, None, more).place_of_value()))
            }
            None => Ok(read),
        }
    }

    fn deserialize_tuple<V: Visitor<'d>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'d>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        let Value::Mapping(_) = self.node.value else {
            return Err(self.unexpected(&visitor, "a map", "a mapping (name: value)"));
        };
        self.visit_fields(visitor, false)
    }

    fn deserialize_struct<V: Visitor<'d>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == PLACED {
            return visitor
                .visit_seq(PlaceThenValue { reader: self, round: 0 })
                .map_err(|error| self.about(error));
        }
        let Value::Mapping(_) = self.node.value else {
            return Err(self.unexpected(&visitor, &format!("struct {name}"), "a mapping (name: value)"));
        };
        self.visit_fields(visitor, self.dialect != Dialect::Plain)
    }

    fn deserialize_enum<V: Visitor<'d>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let one_entry = match self.node.value {
            Value::Mapping(entries) if entries.len() == 1 => Some(&entries[0]),
            Value::Text(_) => None,
            _ => {
                let expected = format!("one of {}", variants.join(", "));
                return Err(
                    self.about(Error::unplaced(Problem::Unexpected { expected, found: String::new() }))
                );
            }
        };
        let read = match one_entry {
            None => visitor.visit_enum(VariantReader { name: self, content: None }),
            Some(entry) => {
                let node = NodeRef::entry(self.node.text, entry);
                let path = ValuePath::Field(&self.path, node.key().unwrap_or_default());
                visitor.visit_enum(VariantReader {
                    name: self,
                    content: Some(ValueReader { node, path, ..self }),
                })
            }
        };
        read.map_err(|error| self.about(error))
    }

    fn deserialize_ignored_any<V: Visitor<'d>>(self, visitor: V) -> Result<V::Value, Error> {
        if let (Some(unread), false) = (self.unread, self.node.is_null()) {
            let place = self.node.place_of_key();
            unread.borrow_mut().push(Unread { path: self.path.to_string(), place });
        }
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        <V: Visitor<'d>>
        char bytes byte_buf unit identifier
    }
}

/// The items of a list.
struct ItemAccess<'d, 'r> {
    list: &'r ValueReader<'d, 'r>,
    items: Enumerate<slice::Iter<'d, Node>>,
}

impl<'d> SeqAccess<'d> for ItemAccess<'d, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'d>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some((index, item)) = self.items.next() else { return Ok(None) };
        let node = NodeRef::new(self.list.node.text, None, item);
        let reader = ValueReader { node, path: ValuePath::Item(&self.list.path, index), ..*self.list };
        seed.deserialize(reader).map(Some).map_err(|error| reader.about(error))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// The fields of a mapping.
struct FieldAccess<'d, 'r> {
    mapping: &'r ValueReader<'d, 'r>,
    entries: slice::Iter<'d, KeyValue>,
    skips_nulls: bool,
    /// The value whose key was read last.
    value: Option<NodeRef<'d>>,
}

impl<'d> FieldAccess<'d, '_> {
    /// The next field that is there.
    fn next(&mut self) -> Option<NodeRef<'d>> {
        let (text, skips_nulls) = (self.mapping.node.text, self.skips_nulls);
        let mut fields = self.entries.by_ref().map(|entry| NodeRef::entry(text, entry));
        fields.find(|field| !(skips_nulls && field.is_null()))
    }
}

impl<'d> MapAccess<'d> for FieldAccess<'d, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'d>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(node) = self.next() else { return Ok(None) };
        self.value = Some(node);
        let key = node.key().unwrap_or_default();
        let name = match self.mapping.dialect {
            Dialect::Protobuf if key.contains('_') => Cow::Owned(lower_camel_case(key)),
            _ => Cow::Borrowed(key),
        };
        let read = match name {
            Cow::Borrowed(name) => seed.deserialize(BorrowedStrDeserializer::<Error>::new(name)),
            Cow::Owned(name) => seed.deserialize(name.into_deserializer()),
        };
        let about = || (node.place_of_key(), self.mapping.path.to_string(), format!("{key:?}"));
        read.map(Some).map_err(|error| error.about(about))
    }

    fn next_value_seed<V: DeserializeSeed<'d>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let node = self.value.take().ok_or_else(|| de::Error::custom("a value without a key"))?;
        let path = ValuePath::Field(&self.mapping.path, node.key().unwrap_or_default());
        let reader = ValueReader { node, path, ..*self.mapping };
        seed.deserialize(reader).map_err(|error| reader.about(error))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}

/// A variant: its name, or a mapping of the one name to its content.
struct VariantReader<'d, 'r> {
    name: ValueReader<'d, 'r>,
    content: Option<ValueReader<'d, 'r>>,
}

impl<'d, 'r> EnumAccess<'d> for VariantReader<'d, 'r> {
    type Error = Error;
    type Variant = VariantContent<'d, 'r>;

    fn variant_seed<V: DeserializeSeed<'d>>(
        self,
        seed: V,
    ) -> Result<(V::Value, VariantContent<'d, 'r>), Error> {
        let node = self.name.node;
        let (name, place) = match self.content {
            Some(content) => (content.node.key().unwrap_or_default(), content.node.place_of_key()),
            None => (node.text().unwrap_or_default(), node.place_of_value()),
        };
        let read = seed.deserialize(BorrowedStrDeserializer::<Error>::new(name));
        let read =
            read.map_err(|error| error.about(|| (place, self.name.path.to_string(), format!("{name:?}"))));
        Ok((read?, VariantContent { name: self.name, content: self.content }))
    }
}

/// What stands behind a variant's name.
struct VariantContent<'d, 'r> {
    name: ValueReader<'d, 'r>,
    content: Option<ValueReader<'d, 'r>>,
}

impl<'d, 'r> VariantContent<'d, 'r> {
    fn needed(self) -> Result<ValueReader<'d, 'r>, Error> {
        self.content.ok_or_else(|| {
            let name = self.name.node.text().unwrap_or_default().to_owned();
            self.name.about(Error::unplaced(Problem::Bare { name }))
        })
    }
}

impl<'d> VariantAccess<'d> for VariantContent<'d, '_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.content {
            Some(content) if !content.node.is_null() => {
                let expected = "nothing behind this word".to_owned();
                let problem = Problem::Unexpected { expected, found: String::new() };
                Err(content.about(Error::unplaced(problem)))
            }
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'d>>(self, seed: T) -> Result<T::Value, Error> {
        let reader = self.needed()?;
        seed.deserialize(reader).map_err(|error| reader.about(error))
    }

    fn tuple_variant<V: Visitor<'d>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.needed()?.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'d>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.needed()?.deserialize_struct("", fields, visitor)
    }
}

/// A value as [`super::Placed`] reads it: where it is, and then itself.
struct PlaceThenValue<'d, 'p> {
    reader: ValueReader<'d, 'p>,
    round: usize,
}

impl<'d> SeqAccess<'d> for PlaceThenValue<'d, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'d>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Place { file, line, column, span } = self.reader.node.place_of_value();
        self.round += 1;
        match self.round {
            1 => seed.deserialize((&*file).into_deserializer()),
            2 => seed.deserialize(line.into_deserializer()),
            3 => seed.deserialize(column.into_deserializer()),
            4 => seed.deserialize(span.start.into_deserializer()),
            5 => seed.deserialize(span.end.into_deserializer()),
            6 => seed.deserialize(self.reader.path.to_string().into_deserializer()),
            _ => seed.deserialize(self.reader),
        }
        .map(Some)
    }
}
