// The dialogs that create, edit and delete a role. The rules for names live in
// the service; the dialogs show what it says at the field it speaks of.

import { announce, busy, byId, closeButtons, h, setText } from './dom.js';
import { clearProblem, showProblem } from './problem.js';

const ROLES = '/api/v3/rbac/roles';

/** RoleDialog creates and edits. saved(role, created) is called after each success. */
export class RoleDialog {
  constructor(client, { saved, unauthenticated }) {
    Object.assign(this, { client, saved, unauthenticated });
    this.dialog = byId('role-dialog');
    this.name = byId('role-name');
    this.description = byId('role-description');
    this.submit = byId('role-submit');
    this.slot = byId('role-problem');
    this.fields = { name: this.name, description: this.description };
    closeButtons(this.dialog);
    byId('role-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.save();
    });
  }

  /** open shows the dialog: for a new role without one, else to edit it. */
  open(role = null) {
    this.role = role;
    clearProblem(this.slot, this.fields);
    this.turn = (this.turn ?? 0) + 1;
    this.name.value = role?.name ?? '';
    this.description.value = role?.description ?? '';
    this.name.readOnly = Boolean(role?.system);
    setText(byId('role-dialog-title'), role ? `Edit ${role.name}` : 'New role');
    setText(byId('role-name-help'), role?.system
      ? 'A system role keeps its name, because programs rely on it. Its description can change.'
      : 'Unique in this tenant.');
    setText(this.submit, role ? 'Save changes' : 'Create role');
    this.dialog.showModal();
    (role?.system ? this.description : this.name).focus();
  }

  async save() {
    const turn = this.turn;
    const current = () => this.turn === turn && this.dialog.open; // the answer may come when another role is being edited
    if (this.submit.getAttribute('aria-disabled') === 'true') return;
    clearProblem(this.slot, this.fields);
    const done = busy(this.submit, this.role ? 'Saving…' : 'Creating…');
    const role = this.role;
    const body = { description: this.description.value.trim() };
    if (!role?.system) body.name = this.name.value.trim();
    try {
      const answer = await this.client.call(role ? 'PUT' : 'POST', role ? `${ROLES}/${role.id}` : ROLES, { body });
      if (current()) this.dialog.close();
      this.saved(answer.data, !role);
    } catch (problem) {
      if (problem.status === 401) {
        this.dialog.close();
        this.unauthenticated(problem);
        return;
      }
      if (!current()) {
        announce(`${problem.title}: ${problem.detail}`);
        return;
      }
      showProblem(this.slot, problem, { fields: this.fields, codes: { name_taken: 'name' } });
    } finally {
      done();
    }
  }
}

/** DeleteDialog asks before it deletes, and once more when people hold the role. */
export class DeleteDialog {
  constructor(client, { deleted, unauthenticated }) {
    Object.assign(this, { client, deleted, unauthenticated });
    this.dialog = byId('delete-dialog');
    this.slot = byId('delete-problem');
    this.confirm = byId('delete-confirm');
    this.force = byId('delete-force');
    closeButtons(this.dialog);
    this.confirm.addEventListener('click', () => this.remove(this.confirm, false));
    this.force.addEventListener('click', () => this.remove(this.force, true));
  }

  /** open asks about one role. */
  open(role) {
    this.turn = (this.turn ?? 0) + 1;
    this.role = role;
    clearProblem(this.slot);
    this.confirm.hidden = false;
    this.force.hidden = true;
    setText(byId('delete-title'), `Delete ${role.name}?`);
    this.dialog.showModal();
  }

  async remove(button, force) {
    if (button.getAttribute('aria-disabled') === 'true') return;
    clearProblem(this.slot);
    const done = busy(button, 'Deleting…');
    const role = this.role;
    const turn = this.turn;
    const current = () => this.turn === turn && this.dialog.open; // the answer may come when the question is about another role
    try {
      await this.client.call('DELETE', `${ROLES}/${role.id}${force ? '?force=true' : ''}`);
      if (current()) this.dialog.close();
      this.deleted(role);
    } catch (problem) {
      if (problem.status === 401) {
        this.dialog.close();
        this.unauthenticated(problem);
      } else if (!current()) {
        announce(`${role.name} was not deleted. ${problem.title}: ${problem.detail}`);
      } else if (problem.code === 'role_has_members') {
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
    byId('delete-cancel').focus();
  }
}
