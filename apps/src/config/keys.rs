//! One declaration for each configuration section: name, documentation, type and default of every key in one
//! place. The list of keys that results serves the check for misspelt keys and the `config --keys` listing.

/// A key of a section as the user sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Name in the TOML file.
    pub name: &'static str,
    /// What it means: the first lines of its documentation.
    pub doc: &'static str,
}

/// A table of the configuration with a fixed set of keys.
pub trait Section {
    /// All keys, in the order of declaration.
    const KEYS: &'static [Key];
}

/// Declares a section: a serde struct whose keys all have defaults, that refuses unknown keys, and that lists
/// its keys through [`Section`].
macro_rules! section {
    ($(#[$meta:meta])* $name:ident { $( $(#[doc = $doc:literal])+ $field:ident : $ty:ty = $default:expr; )* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name { $( $(#[doc = $doc])+ pub $field: $ty, )* }

        impl Default for $name {
            fn default() -> Self { $name { $( $field: $default, )* } }
        }

        impl $crate::config::keys::Section for $name {
            const KEYS: &'static [$crate::config::keys::Key] = &[ $(
                $crate::config::keys::Key { name: stringify!($field), doc: concat!($($doc,)+) },
            )* ];
        }
    };
}
pub(crate) use section;
