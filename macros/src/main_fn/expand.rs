//! From model to tokens.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::ItemFn;

use super::model::Main;

/// A `main` that hands the user's function to the launcher.
pub(super) fn main(main: &Main, function: &ItemFn) -> TokenStream {
    let about = &main.about;
    let params = main.params.as_ref().map_or_else(|| quote!(::flott::NoParams), ToTokens::to_token_stream);
    let build = match main.params {
        Some(_) => quote!(main),
        None => quote!(|job, ::flott::NoParams { .. }| main(job)),
    };
    quote! {
        fn main() -> ::std::process::ExitCode {
            #function
            ::flott::plumbing::run_main::<#params>(
                #build,
                ::flott::plumbing::JobInfo {
                    name: ::core::option_env!("CARGO_BIN_NAME").unwrap_or(::core::env!("CARGO_PKG_NAME")),
                    version: ::core::env!("CARGO_PKG_VERSION"),
                    about: #about,
                },
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    #[test]
    fn the_function_is_handed_to_the_launcher() {
        let function = parse_quote!(
            fn main(job: &mut Job) -> Result<()> {
                Ok(())
            }
        );
        let expected = quote! {
            fn main() -> ::std::process::ExitCode {
                fn main(job: &mut Job) -> Result<()> { Ok(()) }
                ::flott::plumbing::run_main::<::flott::NoParams>(
                    |job, ::flott::NoParams { .. }| main(job),
                    ::flott::plumbing::JobInfo {
                        name: ::core::option_env!("CARGO_BIN_NAME").unwrap_or(::core::env!("CARGO_PKG_NAME")),
                        version: ::core::env!("CARGO_PKG_VERSION"),
                        about: "Counts.",
                    },
                )
            }
        };
        let model = Main { params: None, about: String::from("Counts.") };
        assert_eq!(main(&model, &function).to_string(), expected.to_string());
    }
}
