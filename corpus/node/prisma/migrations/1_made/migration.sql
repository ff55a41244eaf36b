create table made (id int primary key);
