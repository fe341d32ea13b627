//! From syntax to model. Every mistake is found here or in a signature.

use proc_macro2::TokenStream;
use syn::{ImplItem, ImplItemFn, Item, ItemImpl, Type};

use super::{
    model::Operator,
    signature::{Signature, signature},
};
use crate::{errors::Errors, names, types};

/// The mistakes, and what can be said of the operator all the same.
pub(super) struct Mistakes<'a> {
    pub(super) error: syn::Error,
    pub(super) item: Option<&'a ItemImpl>,
    pub(super) input: Option<Type>,
    pub(super) output: Option<Type>,
    pub(super) key: Option<Type>,
}

/// Reads an operator's logic.
pub(super) fn operator<'a>(arguments: &TokenStream, item: &'a Item) -> Result<Operator, Box<Mistakes<'a>>> {
    let mut errors = Errors::default();
    errors.no_arguments("operator", arguments);
    let found = inherent(item, &mut errors).map(|item| (item, Methods::read(item, &mut errors)));
    let (item, methods) = found.unzip();
    let mut methods = methods.unwrap_or_default();
    let (key, output) = (methods.key(&mut errors), methods.output(&mut errors));
    let input = methods.process.as_ref().and_then(|process| process.record.clone());
    match (errors.finish(), item, methods.process.take(), input) {
        (Ok(()), Some(item), Some(process), Some(input)) => Ok(Operator {
            self_ty: (*item.self_ty).clone(),
            generics: item.generics.clone(),
            input,
            output,
            key,
            process: process.method,
            timers: methods.timers.into_iter().map(|timer| timer.method).collect(),
        }),
        (result, item, _, input) => {
            let error = result.err().unwrap_or_else(|| syn::Error::new_spanned(arguments, "not an operator"));
            Err(Box::new(Mistakes { error, item, input, output, key }))
        }
    }
}

fn inherent<'a>(item: &'a Item, errors: &mut Errors) -> Option<&'a ItemImpl> {
    const PLACE: &str = "`#[operator]` belongs on the `impl` block with the operator's `process` method";
    match item {
        Item::Impl(ItemImpl { trait_: Some((path, _)), .. }) => errors.at(path, PLACE),
        Item::Impl(item) => return Some(item),
        Item::Struct(item) => {
            errors.at(&item.ident, format_args!("{PLACE}; a struct has `#[derive(Operator)]`"))
        }
        _ => errors.add(syn::Error::new(proc_macro2::Span::call_site(), PLACE)),
    }
    None
}

/// The methods that the engine calls.
#[derive(Default)]
struct Methods {
    process: Option<Signature>,
    timers: Vec<Signature>,
}

impl Methods {
    fn read(item: &ItemImpl, errors: &mut Errors) -> Self {
        let mut methods = Self::default();
        for function in functions(item) {
            if function.sig.ident == "process" {
                methods.process = Some(signature(function, true, errors));
            } else if function.sig.ident.to_string().starts_with(names::TIMER_METHOD_PREFIX) {
                methods.timers.push(signature(function, false, errors));
            }
        }
        if methods.process.is_none() {
            let message =
                "an operator has `fn process(&mut self, record: In, out: &mut Output<Out>) -> Result<()>`";
            errors.at(&item.self_ty, message);
        }
        methods
    }

    fn key(&self, errors: &mut Errors) -> Option<Type> {
        agreed(self.all().filter_map(|signature| signature.key.as_ref()), "key", errors)
    }

    fn output(&self, errors: &mut Errors) -> Option<Type> {
        agreed(self.all().filter_map(|signature| signature.output.as_ref()), "output", errors)
    }

    fn all(&self) -> impl Iterator<Item = &Signature> {
        self.process.iter().chain(&self.timers)
    }
}

fn functions(item: &ItemImpl) -> impl Iterator<Item = &ImplItemFn> {
    item.items.iter().filter_map(|item| match item {
        ImplItem::Fn(function) => Some(function),
        _ => None,
    })
}

/// The type that all methods name; `process` comes first and decides.
fn agreed<'a>(mut named: impl Iterator<Item = &'a Type>, what: &str, errors: &mut Errors) -> Option<Type> {
    let first = named.next()?;
    for other in named.filter(|other| !types::is_same(first, other)) {
        let first = types::text(first);
        errors.at(other, format_args!("an operator has one {what} type; it is `{first}` in a method above"));
    }
    Some(first.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator_impl::model::{Argument, Returns};
    use syn::parse_quote;

    fn valid(item: &Item) -> Operator {
        operator(&TokenStream::new(), item).unwrap_or_else(|mistakes| panic!("{}", mistakes.error))
    }

    fn mistakes(item: &Item) -> Vec<String> {
        let mistakes = operator(&TokenStream::new(), item).err().expect("the input has mistakes");
        mistakes.error.into_iter().map(|error| error.to_string()).collect()
    }

    #[test]
    fn types_are_read_from_the_signatures() {
        let operator = valid(&parse_quote! {
            impl SmallThenLarge {
                fn helper(&self) {}
                fn process(&mut self, payment: Payment, out: &mut flott::Output<Alert>, key: &u64) -> Result<()> {}
                fn on_disarm(&mut self, context: &Context) {}
                fn on_later(&self, _key: &u64) -> std::result::Result<(), Refused> {}
            }
        });
        assert_eq!(types::text(&operator.input), "Payment");
        assert_eq!(operator.output.map(|ty| types::text(&ty)).as_deref(), Some("Alert"));
        assert_eq!(operator.key.map(|ty| types::text(&ty)).as_deref(), Some("u64"));
        assert_eq!(operator.process.arguments, [Argument::Record, Argument::Output, Argument::Key]);
        let returns: Vec<_> = operator.timers.iter().map(|timer| timer.returns).collect();
        assert_eq!(returns, [Returns::Nothing, Returns::ForeignResult]);
    }

    #[test]
    fn key_and_output_may_be_absent() {
        let operator = valid(&parse_quote!(impl Sink { fn process(&mut self, (key, n): (u64, u64)) {} }));
        assert!(operator.key.is_none() && operator.output.is_none());
    }

    #[test]
    fn all_mistakes_of_all_methods_are_found() {
        let item = parse_quote! {
            impl Wrong {
                async fn process<T>(self, record: &Payment, out: Output<Alert>, kee: &u64) -> Result<Alert> {}
                fn on_disarm(&mut self, key: &u64, out: &mut Output<Alert>, key: &u64) {}
                fn on_other(&mut self, key: &u32, out: &mut Output<Payment>, context: Context) {}
                fn on_end(out: &mut Output) {}
            }
        };
        let known = "the engine does not know this parameter; it can give `key: &Key`, `context: &Context` and \
                     `out: &mut Output<Out>`";
        assert_eq!(
            mistakes(&item),
            [
                "an operator never waits: its methods cannot be `async`",
                "the engine calls this method: it cannot be generic",
                "this method returns `Result<()>` or nothing; what it emits goes to `out`",
                "the engine calls this method with `&mut self`",
                "the first parameter is the record, by value",
                "an output is borrowed: `&mut Output<Out>`",
                known,
                "this method has such a parameter already",
                "the context is borrowed: `&Context`",
                "the engine calls this method with `&mut self`",
                "an operator has one key type; it is `u64` in a method above",
                "an operator has one output type; it is `Alert` in a method above",
            ]
        );
    }

    #[test]
    fn only_an_impl_block_with_process_is_an_operator() {
        assert_eq!(mistakes(&parse_quote!(impl Wrong { fn proces(&mut self, record: u64) {} })).len(), 1);
        assert_eq!(mistakes(&parse_quote!(impl Wrong { fn process(&mut self) {} })).len(), 1);
        assert_eq!(mistakes(&parse_quote!(impl Clone for Wrong {})).len(), 1);
        assert_eq!(
            mistakes(&parse_quote!(
                struct Wrong;
            ))
            .len(),
            1
        );
        assert_eq!(
            mistakes(&parse_quote!(
                fn wrong() {}
            ))
            .len(),
            1
        );
        let item = parse_quote!(impl Right { fn process(&mut self, record: u64) {} });
        assert!(operator(&quote::quote!(key = u64), &item).is_err());
    }
}
