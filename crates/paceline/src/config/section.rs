//! A section: a struct of options that knows its own fields.

use toml::Value;

use super::setting::InvalidSetting;

/// One option of a section.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// What its values are.
    pub kind: &'static str,
}

/// A value on its way into an option.
pub enum Given<'a> {
    /// From a file.
    Toml(&'a Value),
    /// From a flag or a variable.
    Text(&'a str),
}

/// A struct of options under one name.
pub trait Section {
    /// The name: the table in the file, the prefix elsewhere.
    fn name(&self) -> &'static str;
    /// What it is about.
    fn doc(&self) -> &'static str;
    /// The options in order.
    fn fields(&self) -> &'static [Field];
    /// Sets an option; false if there is no such one.
    ///
    /// # Errors
    /// [`InvalidSetting`] if it cannot take the value.
    fn set(&mut self, field: &str, value: Given<'_>) -> Result<bool, InvalidSetting>;
    /// The value of an option, secrets masked.
    fn get(&self, field: &str) -> Option<Value>;
}

/// Declares a section: the struct, its defaults and its [`Section`].
macro_rules! section {
    (
        $(#[doc = $doc:literal])+
        $title:ident = $name:literal {
            $( $(#[doc = $field_doc:literal])+ $field:ident: $type:ty = $default:expr, )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $title {
            $( $(#[doc = $field_doc])+ pub $field: $type, )+
        }

        impl Default for $title {
            fn default() -> Self {
                $title { $( $field: $default, )+ }
            }
        }

        impl $crate::config::section::Section for $title {
            fn name(&self) -> &'static str {
                $name
            }
            fn doc(&self) -> &'static str {
                concat!($($doc, "\n"),+)
            }
            fn fields(&self) -> &'static [$crate::config::section::Field] {
                const FIELDS: &[$crate::config::section::Field] = &[
                    $( $crate::config::section::Field {
                        name: stringify!($field),
                        doc: concat!($($field_doc, "\n"),+),
                        kind: <$type as $crate::config::setting::Setting>::KIND,
                    }, )+
                ];
                FIELDS
            }
            fn set(
                &mut self,
                field: &str,
                value: $crate::config::section::Given<'_>,
            ) -> Result<bool, $crate::config::setting::InvalidSetting> {
                use $crate::config::section::Given;
                use $crate::config::setting::Setting;
                match field {
                    $( stringify!($field) => {
                        self.$field = match value {
                            Given::Toml(value) => <$type as Setting>::from_toml(value)?,
                            Given::Text(text) => <$type as Setting>::from_text(text)?,
                        };
                    } )+
                    _ => return Ok(false),
                }
                Ok(true)
            }
            fn get(&self, field: &str) -> Option<toml::Value> {
                use $crate::config::setting::Setting;
                match field {
                    $( stringify!($field) => Some(self.$field.to_toml()), )+
                    _ => None,
                }
            }
        }
    };
}
pub(super) use section;
