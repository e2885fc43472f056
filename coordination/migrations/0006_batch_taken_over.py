from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('coordination', '0005_generation'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='batch',
            index=models.Index(condition=models.Q(('epoch__gt', 1)), fields=['node'], name='batch_taken_over'),
        ),
    ]
