//! The declaration of a job under construction, shared by its streams.

mod factory;

use std::{cell::RefCell, collections::HashMap, panic::Location, rc::Rc, sync::Arc};

use flott_core::{
    Error, ErrorKind, MaxParallelism, OperatorId, OperatorUid, Record, Result, Schema,
    sink::DeliveryGuarantee, state::StateDeclaration,
};
use flott_plan::{GraphEdge, JobGraph, OperatorNode, OperatorRole, Partitioning, WatermarkStrategy};
use flott_runtime::{
    exchange::Edge,
    output::{ForwardPartitioner, RebalancePartitioner},
    program::{EdgeFactory, JobProgram, OperatorFactory},
};

pub(crate) use factory::{LinkFactory, Prototype, SinkFactory, SourceFactory};

/// Graph and factories while the user's `main` declares them.
#[derive(Default)]
pub(crate) struct Declaration {
    graph: JobGraph,
    operators: Vec<Arc<dyn OperatorFactory>>,
    /// Where each operator was declared.
    places: Vec<&'static Location<'static>>,
    edges: Vec<Arc<dyn EdgeFactory>>,
    /// The number of operators without a name of their own that have got a name of this stem.
    derived: HashMap<String, u32>,
    /// Mistakes so far. Declaring goes on, so that all are shown at once.
    mistakes: Vec<String>,
}

/// One declaration, held by the job and all its streams.
#[derive(Clone, Default)]
pub(crate) struct SharedDeclaration(Rc<RefCell<Declaration>>);

/// What an operator is, besides how to make it.
pub(crate) struct NodeSpec {
    pub(crate) uid: String,
    pub(crate) role: OperatorRole,
    pub(crate) description: String,
    pub(crate) states: Vec<StateDeclaration>,
    pub(crate) side_outputs: Vec<String>,
    pub(crate) needs_event_time: bool,
    /// The user's line.
    place: &'static Location<'static>,
}

impl NodeSpec {
    #[track_caller]
    pub(crate) fn new(uid: &str, role: OperatorRole, description: String) -> Self {
        let (states, side_outputs) = (Vec::new(), Vec::new());
        let place = Location::caller();
        Self { uid: uid.into(), role, description, states, side_outputs, needs_event_time: false, place }
    }

    #[track_caller]
    pub(crate) fn transform(uid: &str, description: &str) -> Self {
        Self::new(uid, OperatorRole::Transform, description.into())
    }

    #[track_caller]
    pub(crate) fn sink(uid: &str, guarantee: DeliveryGuarantee, description: String) -> Self {
        Self::new(uid, OperatorRole::Sink(guarantee), description)
    }
}

/// Where a stream comes from: the main output of an operator, or one of its side outputs.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) operator: OperatorId,
    pub(crate) side_output: Option<String>,
}

impl Declaration {
    /// Operators that nothing would ever reach but the end of the input, as mistakes.
    fn waiting_in_vain(&self) -> impl Iterator<Item = String> {
        let place = |id: OperatorId| self.places[id.0 as usize];
        let uid = |id: OperatorId| self.graph.operator(id).uid.as_str();
        self.graph.without_event_time().into_iter().map(move |(operator, source)| {
            format!(
                "{}: operator {:?} needs event time, but source {:?} ({}) has no watermarks, so that its windows and \
                 event-time timers would fire only when the input ends. Call \
                 `.watermarks(Watermarks::bounded(…))` directly on the source, or `.watermarks(Watermarks::none())` if \
                 that is what you want",
                place(operator),
                uid(operator),
                uid(source),
                place(source),
            )
        })
    }
}

impl SharedDeclaration {
    pub(crate) fn max_parallelism(&self) -> MaxParallelism {
        self.0.borrow().graph.max_parallelism
    }

    /// Keeps it as a mistake, once, when no checkpoint or exchange can carry records of this schema.
    pub(crate) fn check_schema(&self, operator: OperatorId, what: &str, schema: &Schema) {
        self.check(operator, what, schema.check());
    }

    fn check(&self, operator: OperatorId, what: &str, checked: Result<(), String>) {
        let Err(why) = checked else { return };
        let mut declaration = self.0.borrow_mut();
        let uid = &declaration.graph.operator(operator).uid;
        let place = declaration.places[operator.0 as usize];
        let mistake = format!("{place}: {what} of operator {:?}: {why}", uid.as_str());
        if !declaration.mistakes.contains(&mistake) {
            declaration.mistakes.push(mistake);
        }
    }

    pub(crate) fn mistake(&self, message: String) {
        self.0.borrow_mut().mistakes.push(message);
    }

    /// Adds an operator. A mistake in its name is kept for the end; declaring goes on under a name made up for it.
    pub(crate) fn add_operator(&self, spec: NodeSpec, factory: Arc<dyn OperatorFactory>) -> OperatorId {
        let mut declaration = self.0.borrow_mut();
        let spare = OperatorUid::new(format!("unnamed-{}", declaration.operators.len()))
            .expect("letters, digits and a hyphen make a uid");
        let uid = OperatorUid::new(spec.uid).unwrap_or_else(|mistake| {
            declaration.mistakes.push(format!("{}: {mistake}", spec.place));
            spare.clone()
        });
        let mut node = OperatorNode {
            uid,
            role: spec.role,
            description: spec.description,
            parallelism: None,
            states: spec.states,
            side_outputs: spec.side_outputs,
            needs_event_time: spec.needs_event_time,
        };
        let id = declaration.graph.add_operator(node.clone()).unwrap_or_else(|mistake| {
            let first = declaration.graph.operators.iter().position(|other| other.uid == node.uid);
            let first = first.and_then(|at| declaration.places.get(at).copied());
            let first = first.map(|place| format!(" (the other one is at {place})")).unwrap_or_default();
            declaration.mistakes.push(format!("{}: {mistake}{first}", spec.place));
            node.uid = spare;
            declaration.graph.add_operator(node.clone()).expect("a name made up from a counter is free")
        });
        let states = node.states;
        declaration.operators.push(factory);
        declaration.places.push(spec.place);
        drop(declaration);
        for state in states {
            self.check(id, &format!("state {:?}", state.name), state.check());
        }
        id
    }

    /// A name for closures between two named operators: the name of what feeds them, and what they do.
    pub(crate) fn derived_uid(&self, origin: &Origin, what: &[&str]) -> String {
        let mut declaration = self.0.borrow_mut();
        let feeding = declaration.graph.operator(origin.operator).uid.as_str();
        let side = origin.side_output.as_ref().map(|name| format!("-{name}")).unwrap_or_default();
        let stem = format!("{feeding}{side}-{}", what.join("-"));
        // Room for a hyphen and the largest number.
        let stem: String = stem.chars().take(OperatorUid::BYTES_MAX - 11).collect();
        loop {
            let count = declaration.derived.entry(stem.clone()).or_default();
            *count += 1;
            let name = if *count == 1 { stem.clone() } else { format!("{stem}-{count}") };
            // Taken only when an operator was given such a name by the job itself.
            if declaration.graph.operators.iter().all(|node| node.uid.as_str() != name) {
                return name;
            }
        }
    }

    pub(crate) fn add_edge(
        &self,
        from: &Origin,
        to: OperatorId,
        partitioning: Partitioning,
        schema: Schema,
        factory: Arc<dyn EdgeFactory>,
    ) {
        self.check_schema(to, "the input", &schema);
        let mut declaration = self.0.borrow_mut();
        let side_output = from.side_output.clone();
        declaration.graph.add_edge(GraphEdge { from: from.operator, side_output, to, partitioning, schema });
        declaration.edges.push(factory);
    }

    /// Records of a type to the subtask of the same index, or in turn where the parallelism differs.
    pub(crate) fn add_forward_edge<T: Record>(&self, from: &Origin, to: OperatorId) {
        let edge = Edge::<T>::new(|sender, channels| {
            if channels == 1 {
                Box::new(ForwardPartitioner)
            } else {
                Box::new(RebalancePartitioner::new(sender))
            }
        });
        self.add_edge(from, to, Partitioning::Forward, T::schema(), Arc::new(edge));
    }

    pub(crate) fn add_rebalance_edge<T: Record>(&self, from: &Origin, to: OperatorId) {
        let edge = Edge::<T>::new(|sender, _| Box::new(RebalancePartitioner::new(sender)));
        self.add_edge(from, to, Partitioning::Rebalance, T::schema(), Arc::new(edge));
    }

    pub(crate) fn set_watermarks(&self, source: OperatorId, strategy: WatermarkStrategy) {
        self.0.borrow_mut().graph.operators[source.0 as usize].role = OperatorRole::Source(strategy);
    }

    pub(crate) fn set_parallelism(&self, operator: OperatorId, parallelism: u32) {
        let mut declaration = self.0.borrow_mut();
        let node = &mut declaration.graph.operators[operator.0 as usize];
        node.parallelism = Some(parallelism);
        let whose = format!("operator {:?}", node.uid.as_str());
        if let Err(mistake) = declaration.graph.check_parallelism(parallelism, &whose) {
            declaration.mistakes.push(mistake.to_string());
        }
    }

    pub(crate) fn set_max_parallelism(&self, max_parallelism: MaxParallelism) {
        let mut declaration = self.0.borrow_mut();
        if declaration.operators.is_empty() {
            declaration.graph.max_parallelism = max_parallelism;
        } else {
            declaration.mistakes.push("set the max parallelism before the first source is declared".into());
        }
    }

    pub(crate) fn side_outputs(&self, operator: OperatorId) -> Vec<String> {
        self.0.borrow().graph.operator(operator).side_outputs.clone()
    }

    pub(crate) fn uid(&self, operator: OperatorId) -> String {
        self.0.borrow().graph.operator(operator).uid.to_string()
    }

    /// The finished job.
    ///
    /// # Errors
    /// All mistakes of the declaration.
    pub(crate) fn finish(&self) -> Result<JobProgram> {
        let declaration = self.0.borrow();
        let mut mistakes = declaration.mistakes.clone();
        if mistakes.is_empty()
            && let Err(mistake) = declaration.graph.validate()
        {
            mistakes.push(mistake.to_string());
        }
        mistakes.extend(declaration.waiting_in_vain());
        if !mistakes.is_empty() {
            return Err(Error::new(ErrorKind::Settings, mistakes.join("\n")));
        }
        Ok(JobProgram {
            graph: declaration.graph.clone(),
            operators: declaration.operators.clone(),
            edges: declaration.edges.clone(),
        })
    }
}
