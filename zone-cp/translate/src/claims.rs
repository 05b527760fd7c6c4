//! Which destinations ask for which cluster name.
//!
//! The name that Kuma gives a cluster ends in a hash over its tags, one text after the other with
//! nothing in between. So `version: v1` and `versio: nv1` run together to one name, and one of the
//! two services would get the other's requests. Here a name that more than one destination asks
//! for is contested: none of them gets it, each gets [`cluster::own_name`].
//!
//! Which names are contested follows from the routes alone, not from the order in which they
//! came: it is decided once all claims of a view are in, by [`Claims::settle`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_delta::Name;

use crate::cluster::{self, Use};

/// The claims of the routes of one proxy.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    by_name: BTreeMap<Name, Vec<Claim>>,
    /// Names with several claims, as of the last call of [`Claims::settle`].
    contested: BTreeSet<Name>,
    /// Names that have got a second claim since then, or lost one of several.
    touched: BTreeSet<Name>,
}

#[derive(Debug)]
struct Claim {
    of: Arc<Use>,
    /// How many routes and listeners have it.
    count: usize,
}

impl Claims {
    /// What the cluster for a destination is called that asks for the name `usual`.
    pub(crate) fn name(&self, usual: &Name, of: &Use) -> Name {
        if self.contested.contains(usual) {
            cluster::own_name(of)
        } else {
            Arc::clone(usual)
        }
    }

    /// Takes note that one more route asks for a name. Equal destinations are one claim, whose
    /// destination is returned.
    pub(crate) fn add(&mut self, usual: &Name, of: Use) -> Arc<Use> {
        let claims = self.by_name.entry(Arc::clone(usual)).or_default();
        if let Some(claim) = claims.iter_mut().find(|claim| *claim.of == of) {
            claim.count += 1;
            return Arc::clone(&claim.of);
        }
        let of = Arc::new(of);
        claims.reserve_exact(1);
        claims.push(Claim {
            of: Arc::clone(&of),
            count: 1,
        });
        if claims.len() > 1 {
            self.touched.insert(Arc::clone(usual));
        }
        of
    }

    /// Takes note that one of them no longer does.
    pub(crate) fn remove(&mut self, usual: &Name, of: &Arc<Use>) {
        let Some(claims) = self.by_name.get_mut(usual) else {
            return;
        };
        let Some(index) = claims.iter().position(|claim| Arc::ptr_eq(&claim.of, of)) else {
            return;
        };
        claims[index].count -= 1;
        if claims[index].count > 0 {
            return;
        }
        if claims.len() > 1 {
            self.touched.insert(Arc::clone(usual));
        }
        claims.remove(index);
        if claims.is_empty() {
            self.by_name.remove(usual);
        }
    }

    /// Decides which names are contested; those for which that may be new, or that had several
    /// claims for a while. Whoever claims one of these has to ask for its name again.
    pub(crate) fn settle(&mut self) -> BTreeSet<Name> {
        for name in &self.touched {
            if self.by_name.get(name).is_some_and(|all| all.len() > 1) {
                self.contested.insert(Arc::clone(name));
            } else {
                self.contested.remove(name);
            }
        }
        std::mem::take(&mut self.touched)
    }
}

#[cfg(test)]
mod tests {
    use mesh_model::tags::Tags;

    use super::*;
    use crate::cluster::Kind;

    fn of(key: &str, value: &str) -> Use {
        let tags = |pairs: [(&str, &str); 2]| -> Tags {
            let pairs = pairs.into_iter();
            pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
        };
        Use {
            destination: tags([("kuma.io/service", "cart"), (key, value)]),
            listener_tags: Arc::default(),
            kind: Kind::Http,
        }
    }

    #[test]
    fn a_name_is_contested_while_different_destinations_claim_it() {
        let (one, other) = (of("version", "v1"), of("versio", "nv1"));
        let usual = cluster::name(&one.destination, &one.listener_tags, "");
        let same = cluster::name(&other.destination, &other.listener_tags, "");
        assert_eq!(usual, same, "stock takes the two for one");

        let mut claims = Claims::default();
        let first = claims.add(&usual, one.clone());
        assert!(Arc::ptr_eq(&first, &claims.add(&usual, one.clone())));
        assert!(claims.settle().is_empty());
        assert_eq!(claims.name(&usual, &one), usual);

        let second = claims.add(&usual, other);
        assert_eq!(claims.name(&usual, &one), usual, "not before all are in");
        assert_eq!(claims.settle(), BTreeSet::from([Arc::clone(&usual)]));
        assert!(claims.settle().is_empty());
        let names = [claims.name(&usual, &one), claims.name(&usual, &second)];
        assert!(names[0] != names[1] && !names.contains(&usual));
        assert!(names.iter().all(|name| name.len() == usual.len()));

        claims.remove(&usual, &second);
        claims.remove(&usual, &first);
        assert_eq!(claims.settle(), BTreeSet::from([Arc::clone(&usual)]));
        assert_eq!(claims.name(&usual, &one), usual);
        claims.remove(&usual, &first);
        assert!(claims.by_name.is_empty() && claims.contested.is_empty());
    }
}
