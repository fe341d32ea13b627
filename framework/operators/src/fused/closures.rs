//! The links of a chain: one struct per kind of closure.

use flott_core::{EventTime, Record, Result};

use super::{Shape, Transform};

macro_rules! link {
    (
        $(#[$doc:meta])*
        $name:ident<$($param:ident: $bound:ident),*>, $shape:ident, $out:ty,
        [$($function:tt)*], |$call:ident, $record:ident, $time:ident, $sink:ident| $body:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name<C, F> {
            pub(super) before: C,
            pub(super) function: F,
        }

        impl<C, F $(, $param)*> Transform for $name<C, F>
        where
            C: Transform,
            F: $($function)* + Clone + Send + 'static,
            $($param: $bound,)*
            $out: Record,
        {
            type In = C::In;
            type Out = $out;
            const SHAPE: Shape = C::SHAPE.then(Shape::$shape);

            #[inline(always)]
            fn apply(
                &mut self,
                record: C::In,
                time: EventTime,
                $sink: &mut impl FnMut($out, EventTime) -> Result<()>,
            ) -> Result<()> {
                let $call = &mut self.function;
                self.before.apply(record, time, &mut |$record, $time| $body)
            }
        }
    };
}

link! {
    /// See [`Transform::map`].
    Map<O: Record>, One, O, [FnMut(C::Out) -> O],
    |function, record, time, sink| sink(function(record), time)
}
link! {
    /// See [`Transform::try_map`].
    TryMap<O: Record>, AtMostOne, O, [FnMut(C::Out) -> Result<O>],
    |function, record, time, sink| sink(function(record)?, time)
}
link! {
    /// See [`Transform::filter`].
    Filter<>, AtMostOne, C::Out, [FnMut(&C::Out) -> bool],
    |function, record, time, sink| if function(&record) { sink(record, time) } else { Ok(()) }
}
link! {
    /// See [`Transform::try_filter`].
    TryFilter<>, AtMostOne, C::Out, [FnMut(&C::Out) -> Result<bool>],
    |function, record, time, sink| if function(&record)? { sink(record, time) } else { Ok(()) }
}
link! {
    /// See [`Transform::flat_map`].
    FlatMap<I: IntoIterator>, Many, I::Item, [FnMut(C::Out) -> I],
    |function, record, time, sink| function(record).into_iter().try_for_each(|record| sink(record, time))
}
link! {
    /// See [`Transform::try_flat_map`].
    TryFlatMap<I: IntoIterator>, Many, I::Item, [FnMut(C::Out) -> Result<I>],
    |function, record, time, sink| function(record)?.into_iter().try_for_each(|record| sink(record, time))
}
link! {
    /// See [`Transform::inspect`].
    Inspect<>, One, C::Out, [FnMut(&C::Out)],
    |function, record, time, sink| {
        function(&record);
        sink(record, time)
    }
}
