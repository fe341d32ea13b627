//! Makes operators and links them: the place where the façade's types are erased.

use std::{
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
};

use flott_core::{
    Error, Record, Result,
    operator::{ChainLink, Discard, Downstream, Head, Operator, OperatorContext},
    sink::{Settler, Sink, WriterContext},
    source::{ReaderContext, Source, SplitEnumerator},
};
use flott_operators::{fanout::Fanout, sink::SinkOperator, source::SourceOperator, watermark::Watermarks};
use flott_runtime::program::{ErasedDownstream, OperatorFactory};

const ONE_TYPE: &str = "an operator and what comes after it are declared with one type";

/// A value that every subtask gets a clone of. Closures are `Send` but need not be `Sync`.
pub(crate) struct Prototype<V>(Mutex<V>);

impl<V: Clone> Prototype<V> {
    pub(crate) fn new(value: V) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn instance(&self) -> V {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn typed<T: Record>(target: ErasedDownstream) -> Box<dyn Downstream<T>> {
    *target.downcast::<Box<dyn Downstream<T>>>().expect(ONE_TYPE)
}

fn erased<T: Record>(target: impl Downstream<T> + 'static) -> ErasedDownstream {
    Box::new(Box::new(target) as Box<dyn Downstream<T>>)
}

/// Joins the targets of an operator's main output.
#[derive(Debug, Default)]
pub(crate) struct OutputType<T>(PhantomData<fn(T)>);

impl<T: Record> OutputType<T> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }

    fn fan_out(&self, targets: Vec<ErasedDownstream>) -> ErasedDownstream {
        if targets.is_empty() {
            return erased::<T>(Discard);
        }
        erased(Fanout::new(targets.into_iter().map(typed::<T>).collect()))
    }
}

fn no_source() -> Error {
    Error::internal("the plan takes an operator for a source")
}

/// Makes operators between an input and an output.
pub(crate) struct LinkFactory<O, M> {
    make: M,
    marker: PhantomData<fn() -> O>,
}

impl<O: Operator + 'static, M: Fn() -> O + Send + Sync> LinkFactory<O, M> {
    pub(crate) fn new(make: M) -> Self {
        Self { make, marker: PhantomData }
    }
}

impl<O: Operator + 'static, M: Fn() -> O + Send + Sync> OperatorFactory for LinkFactory<O, M> {
    fn link(
        &self,
        context: OperatorContext,
        target: ErasedDownstream,
        side_outputs: Vec<(String, ErasedDownstream)>,
    ) -> Result<ErasedDownstream> {
        let mut operator = (self.make)();
        for (name, side_output) in side_outputs {
            operator.bind_side_output(&name, side_output)?;
        }
        Ok(erased(ChainLink::new(operator, context, typed::<O::Out>(target))))
    }

    fn source(&self, _context: OperatorContext, _target: ErasedDownstream) -> Result<Box<dyn Head>> {
        Err(no_source())
    }

    fn fan_out(&self, targets: Vec<ErasedDownstream>) -> ErasedDownstream {
        OutputType::<O::Out>::new().fan_out(targets)
    }

    fn enumerator(&self) -> Result<Option<Box<dyn SplitEnumerator>>> {
        Ok(None)
    }

    fn settler(&self) -> Result<Option<Box<dyn Settler>>> {
        Ok(None)
    }

    fn check(&self, _checkpoint_interval_ms: u64) -> Result<()> {
        Ok(())
    }
}

/// Makes the writers and the settler of a sink.
pub(crate) struct SinkFactory<S>(pub(crate) S);

impl<S: Sink> OperatorFactory for SinkFactory<S> {
    fn link(
        &self,
        context: OperatorContext,
        _target: ErasedDownstream,
        _side_outputs: Vec<(String, ErasedDownstream)>,
    ) -> Result<ErasedDownstream> {
        let writer = self.0.writer(&WriterContext {
            uid: context.uid.clone(),
            job: Arc::clone(&context.job),
            subtask: context.subtask,
            parallelism: context.parallelism,
            attempt: context.attempt,
            generation: context.generation,
            metrics: Arc::clone(&context.metrics),
        })?;
        Ok(erased(ChainLink::new(SinkOperator::new(writer), context, Box::new(Discard))))
    }

    fn source(&self, _context: OperatorContext, _target: ErasedDownstream) -> Result<Box<dyn Head>> {
        Err(no_source())
    }

    fn fan_out(&self, targets: Vec<ErasedDownstream>) -> ErasedDownstream {
        OutputType::<()>::new().fan_out(targets)
    }

    fn enumerator(&self) -> Result<Option<Box<dyn SplitEnumerator>>> {
        Ok(None)
    }

    fn settler(&self) -> Result<Option<Box<dyn Settler>>> {
        self.0.settler()
    }

    fn check(&self, checkpoint_interval_ms: u64) -> Result<()> {
        self.0.check(checkpoint_interval_ms)
    }
}

/// Makes the enumerator and the readers of a source.
pub(crate) struct SourceFactory<S: Source> {
    pub(crate) source: S,
    /// Set after the source is declared, by `.watermarks(…)`.
    pub(crate) watermarks: Arc<Mutex<Watermarks<S::Out>>>,
}

impl<S: Source> OperatorFactory for SourceFactory<S> {
    fn link(
        &self,
        _context: OperatorContext,
        _target: ErasedDownstream,
        _side_outputs: Vec<(String, ErasedDownstream)>,
    ) -> Result<ErasedDownstream> {
        Err(Error::internal("the plan takes a source for another operator"))
    }

    fn source(&self, context: OperatorContext, target: ErasedDownstream) -> Result<Box<dyn Head>> {
        let reader = self.source.reader(&ReaderContext {
            uid: context.uid.clone(),
            subtask: context.subtask,
            metrics: Arc::clone(&context.metrics),
        })?;
        let watermarks = self.watermarks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let target = typed::<S::Out>(target);
        let source = SourceOperator::new(context.uid, watermarks, reader, context.metrics, target);
        Ok(Box::new(source))
    }

    fn fan_out(&self, targets: Vec<ErasedDownstream>) -> ErasedDownstream {
        OutputType::<S::Out>::new().fan_out(targets)
    }

    fn enumerator(&self) -> Result<Option<Box<dyn SplitEnumerator>>> {
        self.source.enumerator().map(Some)
    }

    fn settler(&self) -> Result<Option<Box<dyn Settler>>> {
        Ok(None)
    }

    fn check(&self, _checkpoint_interval_ms: u64) -> Result<()> {
        Ok(())
    }
}
