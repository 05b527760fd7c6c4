//! Which certificates are taken, under which names, and what is said of the others.
