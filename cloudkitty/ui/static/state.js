// What a page shows stands in its address: #costs?project=p1&month=2026-11.

/** Return {page, values} of the address. */
export function read() {
  const [page, query = ''] = location.hash.slice(1).split('?');
  return { page, values: Object.fromEntries(new URLSearchParams(query)) };
}

/** Return the address of a page; empty values are left out. */
export function address(page, values = {}) {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value));
  return `#${page}${String(query) && `?${query}`}`;
}

/** Return the project whose costs are shown; undefined: there is none. */
export function projectOf({ me, values, projects }) {
  return me.is_admin ? values.project || projects[0] : me.project_id;
}

/** A calendar month, UTC. */
export class Month {
  constructor(year, number) {
    this.begin = new Date(Date.UTC(year, number - 1, 1));
    this.end = new Date(Date.UTC(year, number, 1));
  }

  static of(date) {
    return new Month(date.getUTCFullYear(), date.getUTCMonth() + 1);
  }

  /** Return the month that a text such as 2026-11 names, else the current one. */
  static named(text) {
    const found = /^(\d{4})-(0[1-9]|1[0-2])$/.exec(text || '');
    return found ? new Month(Number(found[1]), Number(found[2])) : Month.of(new Date());
  }

  before(count) {
    return new Month(this.begin.getUTCFullYear(), this.begin.getUTCMonth() + 1 - count);
  }

  get name() {
    return this.begin.toISOString().slice(0, 7);
  }

  get days() {
    return Math.round((this.end - this.begin) / 86400000);
  }

  /** The parameters of a question about this month. */
  get span() {
    return { begin: this.begin.toISOString(), end: this.end.toISOString() };
  }

  /** Return the parameters for the part of this month before *until*, and all of it if none is. */
  spanBefore(until) {
    const end = until > this.begin && until < this.end ? until : this.end;
    return { begin: this.begin.toISOString(), end: end.toISOString() };
  }
}
