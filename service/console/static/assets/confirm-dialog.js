// The question before something is deleted, and the second one where the
// service refuses because others depend on it: it says how many, and only then
// is there a way to go on.

import { announce, busy, closeButtons, h, setText } from './dom.js';
import { clearProblem, showProblem } from './problem.js';

/** ConfirmDialog asks one question at a time. unauthenticated(problem) is called when the token no longer counts. */
export class ConfirmDialog {
  constructor({ unauthenticated }) {
    this.unauthenticated = unauthenticated;
    this.turn = 0;
    this.title = h('h2', { id: 'delete-title' });
    this.text = h('p', { id: 'delete-text' });
    this.slot = h('div', { class: 'slot', id: 'delete-problem' });
    this.cancel = h('button', { type: 'button', class: 'secondary', 'data-close': true, id: 'delete-cancel', autofocus: true, text: 'Cancel' });
    this.confirm = h('button', { type: 'button', class: 'danger', id: 'delete-confirm' });
    this.force = h('button', { type: 'button', class: 'danger', id: 'delete-force', hidden: true, text: 'Delete anyway' });
    this.dialog = h('dialog', { id: 'delete-dialog', class: 'modal', 'aria-labelledby': 'delete-title', 'aria-describedby': 'delete-text' },
      this.title, this.text, this.slot, h('div', { class: 'row end' }, this.cancel, this.confirm, this.force));
    document.body.append(this.dialog);
    closeButtons(this.dialog);
    this.confirm.addEventListener('click', () => this.run(this.confirm, false));
    this.force.addEventListener('click', () => this.run(this.force, true));
  }

  /**
   * ask shows the question, entitled title or after name, which is what would
   * be deleted, explained by text; confirm is the button's. remove(force) does it; deleted() is told of success; a refusal with the code forceCode offers
   * to go on with force.
   */
  ask(question) {
    this.turn += 1;
    this.question = question;
    clearProblem(this.slot);
    this.confirm.hidden = false;
    this.force.hidden = true;
    setText(this.title, question.title ?? `Delete ${question.name}?`);
    setText(this.text, question.text);
    setText(this.confirm, question.confirm);
    this.dialog.showModal();
  }

  async run(button, force) {
    if (button.getAttribute('aria-disabled') === 'true') return;
    clearProblem(this.slot);
    const done = busy(button, 'Deleting…');
    const { question, turn } = this;
    const current = () => this.turn === turn && this.dialog.open; // the answer may come when the question is another one
    try {
      await question.remove(force);
      if (current()) this.dialog.close();
      question.deleted();
    } catch (problem) {
      if (problem.status === 401) {
        this.dialog.close();
        this.unauthenticated(problem);
      } else if (!current()) {
        announce(`${question.name} was not deleted. ${problem.title}: ${problem.detail}`);
      } else if (problem.code === question.forceCode) {
        this.askForce(problem);
      } else {
        showProblem(this.slot, problem);
      }
    } finally {
      done();
    }
  }

  /** askForce offers the way on. The focus goes to Cancel, so that a second Enter deletes nothing. */
  askForce(problem) {
    showProblem(this.slot, problem);
    this.slot.firstElementChild.append(h('p', { text: '“Delete anyway” does so.' }));
    this.confirm.hidden = true;
    this.force.hidden = false;
    this.cancel.focus();
  }
}
