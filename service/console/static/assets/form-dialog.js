// A dialog with a form for one object: to make it, or to change it as it was
// when the dialog was opened. The rules for what the fields may hold live in
// the service; the dialog shows what it says at the field it speaks of.

import { announce, busy, closeButtons, h, setText } from './dom.js';
import { makeField } from './fields.js';
import { clearProblem, showProblem } from './problem.js';

/**
 * FormDialog is one dialog, named id, of the given fields (see fields.js).
 * codes says at which field a problem's code is shown.
 */
export class FormDialog {
  constructor(id, { fields, codes = {}, unauthenticated }) {
    Object.assign(this, { codes, unauthenticated });
    this.turn = 0;
    this.fields = new Map(fields.map((field) => [field.name, makeField(id, field)]));
    this.inputs = Object.fromEntries([...this.fields].map(([name, field]) => [name, field.input]));
    this.title = h('h2', { id: `${id}-dialog-title` });
    this.slot = h('div', { class: 'slot', id: `${id}-problem` });
    this.extra = h('button', { type: 'button', class: 'quiet danger-text start', id: `${id}-extra` });
    this.submit = h('button', { type: 'submit', class: 'primary', id: `${id}-submit` });
    this.form = h('form', { id: `${id}-form`, autocomplete: 'off', novalidate: true },
      this.title, ...[...this.fields.values()].map((field) => field.el), this.slot,
      h('div', { class: 'row end' }, this.extra, h('button', { type: 'button', class: 'secondary', 'data-close': true, text: 'Cancel' }), this.submit));
    this.dialog = h('dialog', { id: `${id}-dialog`, class: 'modal', 'aria-labelledby': `${id}-dialog-title` }, this.form);
    document.body.append(this.dialog);
    closeButtons(this.dialog);
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.save();
    });
    this.extra.addEventListener('click', () => {
      this.dialog.close();
      this.job.extra.run();
    });
  }

  /**
   * open shows the dialog for one job:
   *   title, submit, busy   its words
   *   values                what the fields show first
   *   read()                gives {data, etag} of the object as it is now; left out for a new one
   *   save(values, etag)    sends the form, and gives the answer
   *   saved(answer)         is told of success
   *   extra {text, run}     one more button, such as Delete
   *   readOnly, help, options  by field's name
   */
  open(job) {
    this.turn += 1;
    this.job = job;
    clearProblem(this.slot, this.inputs);
    for (const [name, field] of this.fields) {
      field.setup({ options: job.options?.[name], readOnly: Boolean(job.readOnly?.includes(name)), help: job.help?.[name], value: job.values?.[name] });
    }
    setText(this.title, job.title);
    setText(this.submit, job.submit);
    this.extra.hidden = !job.extra;
    setText(this.extra, job.extra?.text ?? '');
    this.dialog.showModal();
    this.dialog.scrollTop = 0;
    [...this.fields.values()].find((field) => !field.readOnly)?.input.focus();
    this.etag = '';
    this.reading = job.read ? this.read(this.turn) : null;
  }

  /** read asks for the object as it is now; fields that a person has changed already keep what they typed. */
  async read(turn) {
    const before = this.values();
    try {
      const { data, etag } = await this.job.read();
      if (this.turn !== turn) return;
      this.etag = etag;
      const now = this.values();
      for (const [name, field] of this.fields) {
        if (name in data && same(now[name], before[name])) field.set(data[name]);
      }
    } catch (problem) {
      if (this.turn === turn && this.dialog.open) this.refused(problem);
    }
  }

  values() {
    return Object.fromEntries([...this.fields].map(([name, field]) => [name, field.get()]));
  }

  async save() {
    if (this.submit.getAttribute('aria-disabled') === 'true') return;
    clearProblem(this.slot, this.inputs);
    const done = busy(this.submit, this.job.busy ?? 'Saving…');
    const { job, turn } = this;
    const current = () => this.turn === turn && this.dialog.open; // the answer may come when another object is being edited
    try {
      await this.reading;
      if (job.read && !this.etag) this.etag = (await job.read()).etag; // the first reading failed
      const answer = await job.save(this.values(), this.etag);
      if (current()) this.dialog.close();
      job.saved(answer);
    } catch (problem) {
      if (current() || problem.status === 401) this.refused(problem);
      else announce(`${problem.title}: ${problem.detail}`);
    } finally {
      done();
    }
  }

  refused(problem) {
    if (problem.status === 401) {
      this.dialog.close();
      this.unauthenticated(problem);
      return;
    }
    const actions = [];
    if (problem.code === 'version_mismatch') actions.push(this.reloadButton());
    showProblem(this.slot, problem, { fields: this.inputs, codes: this.codes, actions });
    actions[0]?.focus();
    this.slot.scrollIntoView({ block: 'nearest' });
  }

  /** reloadButton is the way on when somebody else was faster: it shows what is there now. */
  reloadButton() {
    const button = h('button', { type: 'button', class: 'secondary small', 'data-action': 'reload', text: 'Show what is there now' });
    button.addEventListener('click', async () => {
      clearProblem(this.slot, this.inputs);
      const { turn } = this;
      try {
        const { data, etag } = await this.job.read();
        if (this.turn !== turn) return;
        this.etag = etag;
        for (const [name, field] of this.fields) {
          if (name in data) field.set(data[name]);
        }
      } catch (failed) {
        if (this.turn === turn) this.refused(failed);
      }
      this.submit.focus();
    });
    return button;
  }
}

function same(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}
