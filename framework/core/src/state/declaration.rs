use crate::record::Schema;

/// What kind of state a field declares.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StateDeclaration {
    /// Name of the state: the field's name.
    pub name: String,
    /// Schema of its values.
    pub schema: Schema,
}
