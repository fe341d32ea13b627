//! `#[state]`, `#[timer]` and `#[side_output]`.

use std::fmt;

use syn::{Attribute, Meta};

use crate::errors::Errors;

/// Which of the attributes a field has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    State,
    Timer,
    SideOutput,
}

impl Mark {
    const ALL: [Self; 3] = [Self::State, Self::Timer, Self::SideOutput];

    /// The types that it marks.
    pub(super) fn types(self) -> &'static str {
        match self {
            Self::State => "`ValueState` or `MapState`",
            Self::Timer => "`EventTimer` or `ProcessingTimer`",
            Self::SideOutput => "`SideOutput`",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Timer => "timer",
            Self::SideOutput => "side_output",
        }
    }

    fn of(attribute: &Attribute) -> Option<Self> {
        Self::ALL.into_iter().find(|mark| attribute.path().is_ident(mark.name()))
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#[{}]", self.name())
    }
}

/// Reads the attribute of a field.
pub(super) fn field(attributes: &[Attribute], errors: &mut Errors) -> Option<Mark> {
    let mut found: Option<Mark> = None;
    for attribute in attributes {
        let Some(mark) = Mark::of(attribute) else { continue };
        if !matches!(attribute.meta, Meta::Path(_)) {
            errors.at(&attribute.meta, format_args!("`{mark}` takes no arguments"));
        }
        if let Some(first) = found {
            errors.at(attribute, format_args!("a field has one role: this one is `{first}` already"));
        } else {
            found = Some(mark);
        }
    }
    found
}

/// Returns `true` if a field has one of the attributes.
pub(super) fn is_marked(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| Mark::of(attribute).is_some())
}

/// Refuses attributes where they have no meaning.
pub(super) fn refuse(attributes: &[Attribute], errors: &mut Errors) {
    for (attribute, mark) in attributes.iter().filter_map(|attribute| Some((attribute, Mark::of(attribute)?)))
    {
        errors.at(attribute, format_args!("`{mark}` describes a field: put it in front of one"));
    }
}
