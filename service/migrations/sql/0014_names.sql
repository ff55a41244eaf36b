-- What people see of a name is all of it: no control, format or direction
-- characters. The service refuses more (tenancy.CheckName); this holds for
-- whoever else writes.
alter table poolproof.tenants add constraint tenants_name_shown
    check (name !~ '[\u0001-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]');

alter table poolproof.roles add constraint roles_name_shown
    check (name !~ '[\u0001-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]');

alter table poolproof.profiles add constraint profiles_name_shown
    check (name !~ '[\u0001-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]'
        and email !~ '[\u0001-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]');
